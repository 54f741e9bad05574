package store

import (
	"os"
	"path/filepath"
	"testing"

	"polynode/kernels"
	"polynode/model"
	"polynode/shard"
)

// openTiny maps a small model from a file.
func openTiny(t *testing.T) *Model {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.pn")
	if err := os.WriteFile(path, pack(t, newFake(tiny(), 1), Spec{Config: tiny(), Format: kernels.Q8}), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// matrices lists all matrices whole, in the order of the file.
func matrices(m *Model) []model.Piece {
	var order []model.Piece
	for _, t := range m.manifest.Tensors {
		if t.Format != Plain {
			rows, k := t.whole()
			order = append(order, model.Piece{Name: t.Name, Rows: rows, K: k})
		}
	}
	return order
}

func verifyPieces(t *testing.T, m *Model, order []model.Piece) {
	t.Helper()
	for _, p := range order {
		if err := m.Verify(p.Name, p.Rows, p.K); err != nil {
			t.Fatal(err)
		}
	}
}

// The chunks of a piece hold each of its units once, in order, and end where a run of rows ends.
func TestChunks(t *testing.T) {
	for _, test := range []struct {
		name    model.Name
		rows, k shard.Slice
	}{
		{model.TokenEmbedding, shard.Slice{Hi: 256000}, shard.Slice{Hi: 5120}},
		{model.FFNUpWeight.Of(0), shard.Slice{Lo: 1024, Hi: 9216}, shard.Slice{Hi: 5120}},
		{model.FFNDownWeight.Of(0), shard.Slice{Hi: 5120}, shard.Slice{Lo: 2560, Hi: 10240}},
		{model.FFNDownWeight.Of(0), shard.Slice{Hi: 16}, shard.Slice{Hi: 128}},
	} {
		config := model.Config{
			Layers: 1, Heads: 40, Embed: 5120, Inner: 20480, Vocab: 256000, Pieces: 256000, Positions: 64,
			Activation: model.GELUFast, Epsilon: 1e-5, EOS: 2, TiedHead: true,
		}
		tensors, err := layOut(config, func(model.Name) kernels.Format { return kernels.Q4 })
		if err != nil {
			t.Fatal(err)
		}
		for i := range tensors {
			if tensors[i].Name != test.name {
				continue
			}
			state := &tensorState{Tensor: &tensors[i]}
			var got, want []int
			row := test.rows.Lo
			for _, c := range appendChunks(nil, state, model.Piece{Name: test.name, Rows: test.rows, K: test.k}) {
				if c.bytes > 3*readerChunk || c.piece.K != test.k || c.piece.Rows.Lo > row {
					t.Errorf("%s: a chunk of %d bytes holds rows %v, columns %v after row %d", test.name, c.bytes, c.piece.Rows, c.piece.K, row)
				}
				row = c.piece.Rows.Hi
				got = append(got, c.units...)
			}
			for u := range state.UnitsOf(test.rows, test.k) {
				want = append(want, u)
			}
			if len(got) != len(want) || row < test.rows.Hi {
				t.Fatalf("%s: %d units up to row %d, want %d up to %d", test.name, len(got), row, len(want), test.rows.Hi)
			}
			for i := range got {
				if got[i] != want[i] {
					t.Fatalf("%s: unit %d is %d, want %d", test.name, i, got[i], want[i])
				}
			}
		}
	}
}

// The reader asks for no more than its window beyond what was verified, and for everything in the end.
func TestReaderKeepsItsWindow(t *testing.T) {
	m := openTiny(t)
	order := matrices(m)
	var q queue
	for _, p := range order {
		q.list = appendChunks(q.list, m.tensors[p.Name], p)
	}
	q.window = q.list[0].bytes + 1 // two chunks
	for asked := 0; ; asked++ {
		c, ok := q.take()
		switch {
		case c == nil:
			if asked != len(q.list) {
				t.Fatalf("asked for %d of %d chunks", asked, len(q.list))
			}
			return
		case ok:
			if q.pending-c.bytes >= q.window {
				t.Fatalf("chunk %d makes %d bytes, the window is %d", asked, q.pending, q.window)
			}
		default:
			if asked == 0 || c != &q.list[q.first] {
				t.Fatal("the reader waits for a chunk that nobody reads")
			}
			verifyPieces(t, m, []model.Piece{c.piece})
			asked--
		}
	}
}

// The goroutine goes on when pieces are verified and ends with its list.
func TestReadAheadEndsWithItsList(t *testing.T) {
	m := openTiny(t)
	m.reader.window = 1
	m.ReadAhead(matrices(m))
	verifyPieces(t, m, matrices(m))
	m.reader.done.Wait()
	m.ReadAhead(matrices(m)) // all good: nothing is left to do
	m.reader.done.Wait()
}

// A list that nobody follows ends with the next one and with the model.
func TestReadAheadIsReplaced(t *testing.T) {
	m := openTiny(t)
	m.reader.window = 1
	for range 3 {
		m.ReadAhead(matrices(m))
	}
	m.ReadAhead([]model.Piece{{Name: "nothing", Rows: shard.Slice{Hi: 16}, K: shard.Slice{Hi: 32}}, {Name: model.TokenEmbedding}})
	m.reader.done.Wait()
	m.ReadAhead(matrices(m))
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m.reader.done.Wait()
	m.ReadAhead(matrices(m))
	m.reader.done.Wait()
}
