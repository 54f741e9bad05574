package fetch

import (
	"context"
	"sync"
	"testing"

	"polynode/kernels"
	"polynode/model"
	"polynode/model/store"
	"polynode/shard"
	"polynode/transport"
)

// small is a model of about a megabyte with several units in every matrix.
func small() model.Config {
	return model.Config{
		Layers: 4, Heads: 4, Embed: 128, Inner: 512, Vocab: 1203, Pieces: 1200, Positions: 64,
		Activation: model.GELUFast, Epsilon: 1e-5, EOS: 2, TiedHead: true,
	}
}

// noise is weights like random ones: the same however they are asked for.
type noise struct{ cols int }

func weights(c model.Config) store.Weights {
	cols := map[model.Name]int{}
	for _, spec := range c.Tensors() {
		cols[spec.Name] = spec.Cols
	}
	return store.WeightsFunc(func(name model.Name) (store.Rows, error) { return noise{cols[name]}, nil })
}

func (n noise) ReadRows(dst []float32, lo, _ int) error {
	for i := range dst {
		v := uint32(lo*n.cols+i) * 2654435761
		dst[i] = float32(int32(v)) * (0.05 / (1 << 31))
	}
	return nil
}

// newDir makes a store folder.
func newDir(t testing.TB) *store.Dir {
	t.Helper()
	d, err := store.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// packed makes a folder with a model in it.
func packed(t testing.TB, c model.Config, format kernels.Format) (*store.Dir, string) {
	t.Helper()
	d := newDir(t)
	report, err := d.Import(t.Context(), weights(c), store.Spec{
		Config: c, Format: format, Label: "Small", Chat: "plain", Tokenizer: []byte("not really a tokenizer"),
		Provenance: store.Provenance{Source: "test"},
	}, store.Options{Name: "small"})
	if err != nil {
		t.Fatal(err)
	}
	return d, report.Digest.String()
}

// share is the pieces of one rank of a plan of two stages with two ranks each.
func share(stage, rank int) func(model.Config) ([]model.Piece, error) {
	return func(c model.Config) ([]model.Piece, error) {
		half := func(n, i int) shard.Slice { return shard.Slice{Lo: n / 2 * i, Hi: n/2*i + n/2} }
		s := model.Share{
			Layers: half(c.Layers, stage), Heads: half(c.Heads, rank), Inner: half(c.Inner, rank),
			First: stage == 0, Last: stage == 1,
		}
		if s.Last {
			s.Vocab = shard.Slice{Lo: rank * 608, Hi: min(c.Vocab, 608+rank*608)}
		}
		return model.PiecesOf(c, s)
	}
}

// whole is every piece of a model.
func whole(c model.Config) ([]model.Piece, error) { return model.PiecesOf(c, model.WholeShare(c)) }

// cluster is a network in memory whose nodes serve folders.
type cluster struct {
	t      testing.TB
	hub    *transport.Memory
	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func newCluster(t testing.TB) *cluster {
	c := &cluster{t: t, hub: transport.NewMemory()}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// stop ends everything and waits for it.
func (c *cluster) stop() {
	c.cancel()
	c.done.Wait()
}

func (c *cluster) node(name string) transport.Network {
	c.t.Helper()
	n, err := c.hub.Node(name)
	if err != nil {
		c.t.Fatal(err)
	}
	context.AfterFunc(c.ctx, func() { n.Close() })
	return n
}

// serve adds a node that gives what is in a folder. change, if given, stands between the server and each connection.
func (c *cluster) serve(name string, dir *store.Dir, change func(transport.Conn) transport.Conn) {
	c.t.Helper()
	c.handle(name, (&Server{Dir: dir}).Serve, change)
}

func (c *cluster) handle(name string, serve func(context.Context, transport.Conn) error, change func(transport.Conn) transport.Conn) {
	network := c.node(name)
	c.done.Go(func() {
		for {
			conn, err := network.Accept(c.ctx, transport.ClassWeights)
			if err != nil {
				return
			}
			if change != nil {
				conn = change(conn)
			}
			c.done.Go(func() { _ = serve(c.ctx, conn) })
		}
	})
}

// check verifies every piece of a model.
func check(t testing.TB, m *store.Model, pieces func(model.Config) ([]model.Piece, error)) {
	t.Helper()
	list, err := pieces(m.Config())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		if err := m.Verify(p.Name, p.Rows, p.K); err != nil {
			t.Fatal(err)
		}
	}
}
