package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"polynode/shard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T) *Cluster {
	t.Helper()
	c, err := Start(t.Context(), Config{Node: "a", Facts: readyNode("a").Facts, ID: "cluster"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func addModel(t *testing.T, c *Cluster) {
	t.Helper()
	if _, err := c.Propose(t.Context(), PutModel(Model{Digest: "digest", Name: "model", Shape: testShape})); err != nil {
		t.Fatal(err)
	}
}

// In real time: one node leads within a second and activates the plan of one node.
func TestOneNode(t *testing.T) {
	began := time.Now()
	c := start(t)
	if took := time.Since(began); took > time.Second {
		t.Errorf("leading took %v", took)
	}
	if leader, known := c.Leader(); leader != "a" || !known {
		t.Errorf("leader %q, %v", leader, known)
	}
	s := c.State()
	if s.ID != "cluster" || s.Generation != 1 || s.Nodes["a"].Phase != Ready || s.Nodes["a"].Facts != readyNode("a").Facts {
		t.Errorf("state %+v", s)
	}
	addModel(t, c)
	plan := shard.Solo("a", testShape, "digest")
	var prepared *State
	epoch, err := c.Activate(t.Context(), plan, func(_ context.Context, p *shard.Plan) error {
		prepared = c.State()
		if !reflect.DeepEqual(p, plan) {
			t.Errorf("prepare was given %+v", p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if prepared.Prepared == nil || prepared.Plan != nil {
		t.Errorf("while preparing: %+v", prepared)
	}
	s = c.State()
	if s.Epoch() != epoch || epoch == 0 || s.Prepared != nil || !reflect.DeepEqual(s.Plan.Stages, plan.Stages) {
		t.Errorf("epoch %d, state %+v", epoch, s)
	}
	again, err := c.Activate(t.Context(), plan, nil)
	if err != nil || again <= epoch {
		t.Errorf("second epoch %d after %d, %v", again, epoch, err)
	}
}

// Fifty times in a bubble, which fails if a goroutine stays.
func TestStartStop(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			c := start(t)
			if _, err := c.Propose(t.Context(), PutNode(readyNode("b"))); err != nil {
				t.Error(err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if err := c.Close(); err != nil {
				t.Errorf("second close: %v", err)
			}
			if _, err := c.Propose(t.Context(), PutNode(readyNode("c"))); !errors.Is(err, ErrClosed) {
				t.Errorf("propose after close: %v", err)
			}
			if len(c.State().Nodes) != 2 {
				t.Errorf("state after close: %+v", c.State())
			}
		})
	}
}

// Proposals that are under way when the node closes get an answer, and none after that.
func TestCloseWhileProposing(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			c := start(t)
			var wg sync.WaitGroup
			for i := range 10 {
				wg.Go(func() {
					for n := 0; ; n++ {
						_, err := c.Propose(t.Context(), PutNode(readyNode(shard.NodeID(fmt.Sprint(i, "-", n)))))
						if errors.Is(err, ErrClosed) {
							return
						}
						if err != nil && !errors.Is(err, ErrFull) {
							t.Errorf("node %d-%d: %v", i, n, err)
						}
					}
				})
			}
			for len(c.State().Nodes) < 50 {
				<-c.Changed()
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			wg.Wait()
		})
	}
}

func TestStartGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := Start(ctx, Config{Node: "a"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("no patience: %v", err)
		}
		if _, err := Start(t.Context(), Config{}); !errors.Is(err, ErrCommand) {
			t.Errorf("no node: %v", err)
		}
		if _, err := Start(t.Context(), Config{Node: "a", ID: strings.Repeat("x", NameMax+1)}); !errors.Is(err, ErrCommand) {
			t.Errorf("long id: %v", err)
		}
	})
}

func TestRandomID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := map[string]bool{}
		for range 3 {
			c, err := Start(t.Context(), Config{Node: "a"})
			if err != nil {
				t.Fatal(err)
			}
			ids[c.State().ID] = true
			c.Close()
		}
		if len(ids) != 3 || ids[""] {
			t.Errorf("ids %v", ids)
		}
	})
}

func TestProposeRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t)
		r, err := c.Propose(t.Context(), PutNode(readyNode("a")))
		if !errors.Is(err, ErrConflict) || !errors.Is(r.Err, ErrConflict) || r.Index == 0 {
			t.Errorf("a node that is there: %+v, %v", r, err)
		}
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Propose(cancelled, PutNode(readyNode("b"))); err != nil && !errors.Is(err, ErrUncertain) {
			t.Errorf("cancelled: %v", err)
		}
		if _, err := c.Propose(t.Context(), PreparePlan(&shard.Plan{Model: strings.Repeat("x", CommandMax)}, 0)); !errors.Is(err, ErrCommand) {
			t.Errorf("large: %v", err)
		}
	})
}

// A plan that could not be prepared is given up, even when the caller has lost patience, and the old one stays.
func TestActivateGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t)
		addModel(t, c)
		plan := shard.Solo("a", testShape, "digest")
		epoch, err := c.Activate(t.Context(), plan, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		broken := errors.New("disk full")
		_, err = c.Activate(ctx, plan, func(context.Context, *shard.Plan) error {
			cancel()
			return broken
		})
		if !errors.Is(err, broken) {
			t.Errorf("activate: %v", err)
		}
		if s := c.State(); s.Prepared != nil || s.Epoch() != epoch {
			t.Errorf("prepared %+v, epoch %d", s.Prepared, s.Epoch())
		}
		if _, err := c.Activate(t.Context(), shard.Solo("z", testShape, "digest"), nil); !errors.Is(err, ErrUnknown) {
			t.Errorf("unknown node: %v", err)
		}
		// Somebody prepares another plan meanwhile: this one must not be activated, nor the other one abandoned.
		_, err = c.Activate(t.Context(), plan, func(context.Context, *shard.Plan) error {
			_, err := c.Propose(t.Context(), PreparePlan(plan, epoch))
			return err
		})
		if !errors.Is(err, ErrConflict) || c.State().Prepared == nil {
			t.Errorf("overtaken: %v, prepared %+v", err, c.State().Prepared)
		}
	})
}

func TestChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t)
		changed := c.Changed()
		select {
		case <-changed:
			t.Error("changed before anything was")
		default:
		}
		if _, err := c.Propose(t.Context(), PutNode(readyNode("a"))); err == nil {
			t.Error("a second node a")
		}
		select {
		case <-changed:
			t.Error("a refused command is no change")
		default:
		}
		addModel(t, c)
		<-changed
		if len(c.State().Models) != 1 {
			t.Error("the change cannot be seen")
		}
	})
}

func TestMachineSnapshotAndRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t)
		addModel(t, c)
		if _, err := c.Activate(t.Context(), shard.Solo("a", testShape, "digest"), nil); err != nil {
			t.Fatal(err)
		}
		future := c.raft.Snapshot()
		if err := future.Error(); err != nil {
			t.Fatal(err)
		}
		_, reader, err := future.Open()
		if err != nil {
			t.Fatal(err)
		}
		other := newMachine()
		changed := other.watch()
		if err := other.Restore(reader); err != nil {
			t.Fatal(err)
		}
		<-changed
		if !reflect.DeepEqual(other.copy(), c.State()) {
			t.Errorf("restored %+v, want %+v", other.copy(), c.State())
		}
		if err := other.Restore(io.NopCloser(strings.NewReader("x"))); !errors.Is(err, ErrSnapshot) {
			t.Errorf("restore garbage: %v", err)
		}
		if !reflect.DeepEqual(other.copy(), c.State()) {
			t.Error("garbage changed the state")
		}
	})
}

func TestMachineGarbage(t *testing.T) {
	m := newMachine()
	r, ok := m.Apply(&raft.Log{Index: 3, Data: []byte("garbage")}).(Result)
	if !ok || r.Index != 3 || !errors.Is(r.Err, ErrCommand) {
		t.Errorf("garbage in the log: %+v", r)
	}
}

func TestRaftLogger(t *testing.T) {
	var out bytes.Buffer
	logger := newRaftLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo})))
	logger = logger.With("peer", "b").Named("raft").Named("snapshot")
	logger.Trace("trace")
	logger.Debug("debug")
	logger.Info("info")
	logger.Warn("warn", "servers", hclog.Fmt("%d of %d", 1, 2))
	logger.Error("error", "err", errors.New("disk full"))
	for _, want := range []string{`level=INFO msg=warn peer=b servers="1 of 2"`, `level=ERROR msg=error peer=b err="disk full"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 2 {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
}
