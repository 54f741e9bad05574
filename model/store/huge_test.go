package store

import (
	"os"
	"testing"

	"polynode/model"
	"polynode/shard"
)

// A rank that takes columns reads ahead and verifies like one that takes whole rows.
func TestReadAheadOfColumns(t *testing.T) {
	m := openTiny(t)
	m.reader.window = 1
	var order []model.Piece
	for i := range tiny().Layers {
		down := m.tensors[model.FFNDownWeight.Of(i)]
		order = append(order, model.Piece{Name: down.Name, Rows: shard.Slice{Hi: down.Rows}, K: shard.Slice{Lo: 64, Hi: 128}})
		up := m.tensors[model.FFNUpWeight.Of(i)]
		order = append(order, model.Piece{Name: up.Name, Rows: shard.Slice{Lo: 32, Hi: 96}, K: shard.Slice{Hi: up.K}})
	}
	for i := range order {
		if err := m.tensors[order[i].Name].CheckSlice(order[i].Rows, order[i].K, m.manifest.Leaf); err != nil {
			t.Fatal(err)
		}
	}
	m.ReadAhead(order)
	verifyPieces(t, m, order)
	m.reader.done.Wait()
}

// A file that was cut while it was mapped ends as an error of Verify, whoever reads it first.
func TestReadAheadOfCutFile(t *testing.T) {
	m := openTiny(t)
	if err := os.Truncate(m.file, PageSize); err != nil {
		t.Skip(err)
	}
	m.ReadAhead(matrices(m))
	failed := false
	for _, p := range matrices(m) {
		failed = failed || m.Verify(p.Name, p.Rows, p.K) != nil
	}
	if !failed {
		t.Error("the bytes of a cut file were found good")
	}
}
