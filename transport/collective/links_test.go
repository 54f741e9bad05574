package collective

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"polynode/shard"
	"polynode/transport"
)

// Activations reach every rank of every stage bit by bit, whatever the sizes of the groups.
func TestStages(t *testing.T) {
	for _, sizes := range [][]int{{1}, {1, 1}, {2, 2}, {2, 3}, {3, 1}, {1, 3, 2}, {7, 5, 3, 1}} {
		t.Run(fmt.Sprint(sizes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				plan := planOf(sizes...)
				c := joined(t, plan, jitter(plan, 1))
				defer c.close()
				for step, length := range []int{1, 256, chunkBytes/4 + 3, 100_000} {
					c.each(func(stage, rank int, links *Links) {
						x := make([]float32, length)
						links.Begin(uint64(step), time.Now().Add(time.Minute))
						if plan.First(stage) {
							for i := range x {
								x[i] = math.Float32frombits(uint32(i+step) * 2654435761) // NaNs and denormals too
							}
						} else if err := links.Recv(x); err != nil {
							t.Errorf("stage %d rank %d: %v", stage, rank, err)
						}
						for i := range x {
							if math.Float32bits(x[i]) != uint32(i+step)*2654435761 {
								t.Errorf("stage %d rank %d: activation %d is %x", stage, rank, i, math.Float32bits(x[i]))
								break
							}
						}
						if err := links.Send(x); err != nil {
							t.Errorf("stage %d rank %d: %v", stage, rank, err)
						}
					})
				}
			})
		})
	}
}

func TestRecvInFirstStage(t *testing.T) {
	c := joined(t, planOf(1), nil)
	if err := c.links["s0r0"].Recv(make([]float32, 1)); !errors.Is(err, ErrMismatch) {
		t.Errorf("receive with nobody before: %v", err)
	}
}

func TestWrongActivations(t *testing.T) {
	c := joined(t, planOf(1, 1), nil)
	c.each(func(stage, _ int, links *Links) {
		links.Begin(1, time.Now().Add(time.Minute))
		if stage == 0 {
			if err := links.Send(make([]float32, 7)); err != nil {
				t.Error(err)
			}
			return
		}
		err := links.Recv(make([]float32, 8))
		if !errors.Is(err, ErrBroken) || !errors.Is(err, ErrMismatch) {
			t.Errorf("7 activations for 8: %v", err)
		}
		if again := links.Send(make([]float32, 1)); again != err {
			t.Errorf("afterwards: %v", again)
		}
	})
}

// Close from another goroutine ends an operation that waits.
func TestCloseWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := joined(t, planOf(2, 1), nil)
		defer c.close()
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := c.links["s0r0"].Group().AllReduce([]int32{1}); !errors.Is(err, ErrBroken) || !errors.Is(err, transport.ErrClosed) {
				t.Errorf("reduce: %v", err)
			}
		})
		synctest.Wait()
		c.links["s0r0"].Close()
		c.links["s0r0"].Close()
		wg.Wait()
	})
}

func node(t *testing.T, hub *transport.Memory, name string) transport.Network {
	t.Helper()
	network, err := hub.Node(name)
	if err != nil {
		t.Fatal(err)
	}
	return network
}

func TestJoinNotInPlan(t *testing.T) {
	network := node(t, transport.NewMemory(), "x")
	defer network.Close()
	if _, err := Join(t.Context(), network, generation, planOf(1), "x"); !errors.Is(err, shard.ErrPlan) {
		t.Errorf("join: %v", err)
	}
}

// Join waits for peers that come late, and gives up when its context ends.
func TestJoinLatePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, plan := transport.NewMemory(), planOf(2)
		early := node(t, hub, "s0r0")
		defer early.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := Join(ctx, early, generation, plan, "s0r0")
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, transport.ErrUnreachable) {
			t.Errorf("without the peer: %v", err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := Join(t.Context(), early, generation, plan, "s0r0"); err != nil {
				t.Errorf("early: %v", err)
			}
		})
		time.Sleep(time.Minute)
		late := node(t, hub, "s0r1")
		defer late.Close()
		if _, err := Join(t.Context(), late, generation, plan, "s0r1"); err != nil {
			t.Errorf("late: %v", err)
		}
		wg.Wait()
	})
}

// A node that is behind learns of it, and one that is ahead waits for the other to catch up, whoever calls.
func TestJoinEpochs(t *testing.T) {
	for _, behind := range []int{0, 1} {
		t.Run(fmt.Sprintf("rank %d behind", behind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub := transport.NewMemory()
				names := []shard.NodeID{"s0r0", "s0r1"}
				old, current := planOf(2), planOf(2)
				current.Epoch++
				networks := []transport.Network{node(t, hub, "s0r0"), node(t, hub, "s0r1")}
				defer networks[0].Close()
				defer networks[1].Close()
				var wg sync.WaitGroup
				wg.Go(func() {
					if _, err := Join(t.Context(), networks[1-behind], generation, current, names[1-behind]); err != nil {
						t.Errorf("ahead: %v", err)
					}
				})
				if _, err := Join(t.Context(), networks[behind], generation, old, names[behind]); !errors.Is(err, transport.ErrStaleEpoch) {
					t.Errorf("behind: %v", err)
				}
				if _, err := Join(t.Context(), networks[behind], generation-1, current, names[behind]); !errors.Is(err, transport.ErrStaleEpoch) {
					t.Errorf("an older cluster: %v", err)
				}
				if _, err := Join(t.Context(), networks[behind], generation, current, names[behind]); err != nil {
					t.Errorf("caught up: %v", err)
				}
				wg.Wait()
			})
		})
	}
}

// Two nodes that disagree about the plan do not work together.
func TestJoinDisagreement(t *testing.T) {
	hub := transport.NewMemory()
	plan, swapped := planOf(3), planOf(3)
	group := swapped.Stages[0].Group
	group[0].Node, group[1].Node = group[1].Node, group[0].Node
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	a, c := node(t, hub, "s0r0"), node(t, hub, "s0r2")
	defer a.Close()
	defer c.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		_, _ = Join(ctx, a, generation, plan, "s0r0")
	})
	if _, err := Join(ctx, c, generation, swapped, "s0r2"); !errors.Is(err, ErrMismatch) {
		t.Errorf("join: %v", err)
	}
	wg.Wait()
}

// Strangers, silent callers and callers of an older epoch do not keep a plan from being joined.
func TestJoinDisturbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, plan := transport.NewMemory(), planOf(2)
		stranger, a, b := node(t, hub, "x"), node(t, hub, "s0r0"), node(t, hub, "s0r1")
		defer stranger.Close()
		defer a.Close()
		defer b.Close()
		for _, network := range []transport.Network{stranger, a, a} {
			conn, err := network.Dial(t.Context(), "s0r1", transport.ClassActivation)
			if err != nil {
				t.Fatal(err)
			}
			if network == a {
				continue // says nothing
			}
			if err := conn.Send(&transport.Frame{Header: transport.Header{Kind: transport.KindHello}}); err != nil {
				t.Fatal(err)
			}
		}
		old, err := a.Dial(t.Context(), "s0r1", transport.ClassActivation)
		if err != nil {
			t.Fatal(err)
		}
		hello := transport.Frame{Header: transport.Header{Kind: transport.KindHello, Generation: generation, Epoch: 6}}
		if err := old.Send(&hello); err != nil {
			t.Fatal(err)
		}
		links := map[shard.NodeID]*Links{}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for name, network := range map[shard.NodeID]transport.Network{"s0r0": a, "s0r1": b} {
			wg.Go(func() {
				l, err := Join(t.Context(), network, generation, plan, name)
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				links[name] = l
			})
		}
		wg.Wait()
		c := &cluster{plan: plan, links: links}
		c.each(func(_, rank int, links *Links) {
			sums := []int32{int32(rank + 1)}
			links.Begin(1, time.Now().Add(time.Second))
			if err := links.Group().AllReduce(sums); err != nil || sums[0] != 3 {
				t.Errorf("rank %d: %v, %v", rank, sums, err)
			}
		})
		var answer transport.Frame
		if err := old.Recv(&answer); err != nil || answer.Epoch != 7 {
			t.Errorf("the old caller was told epoch %d, %v", answer.Epoch, err)
		}
	})
}

func TestJoinClosedNetwork(t *testing.T) {
	for _, me := range []shard.NodeID{"s0r0", "s0r1"} {
		network := node(t, transport.NewMemory(), string(me))
		network.Close()
		if _, err := Join(t.Context(), network, generation, planOf(2), me); !errors.Is(err, transport.ErrClosed) {
			t.Errorf("%s: %v", me, err)
		}
	}
}
