package collective

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"polynode/transport"
)

var sizes = []int{1, 2, 3, 5, 7}

// parts are the random sums of each rank, and what they should add up to.
func parts(random *rand.Rand, ranks, length int) (parts [][]int32, want []int32) {
	want = make([]int32, length)
	for range ranks {
		part := make([]int32, length)
		for i := range part {
			part[i] = int32(random.Uint32())
			want[i] += part[i]
		}
		parts = append(parts, part)
	}
	return parts, want
}

// Every rank gets the plain sum, whatever the number of ranks, the length and the order in which parts arrive.
func TestAllReduce(t *testing.T) {
	for _, size := range sizes {
		t.Run(fmt.Sprintf("ranks=%d", size), func(t *testing.T) {
			for seed := range uint64(3) {
				synctest.Test(t, func(t *testing.T) {
					random := rand.New(rand.NewPCG(seed, uint64(size)))
					plan := planOf(size)
					c := joined(t, plan, jitter(plan, seed))
					defer c.close()
					for step, length := range []int{0, 1, 7, 2048, 5120, chunkSums, chunkSums + 1, 70_000, 300_000} {
						mine, want := parts(random, size, length)
						c.each(func(_, rank int, links *Links) {
							links.Begin(uint64(step), time.Now().Add(time.Minute))
							if err := links.Group().AllReduce(mine[rank]); err != nil {
								t.Errorf("rank %d: %v", rank, err)
							}
						})
						for rank := range mine {
							if !slices.Equal(mine[rank], want) {
								t.Fatalf("rank %d of %d, %d sums, seed %d: wrong", rank, size, length, seed)
							}
						}
					}
				})
			}
		})
	}
}

// Each rank gets what each gave, of any length, over several frames too.
func TestAllGather(t *testing.T) {
	for _, size := range sizes {
		t.Run(fmt.Sprintf("ranks=%d", size), func(t *testing.T) {
			for seed := range uint64(3) {
				synctest.Test(t, func(t *testing.T) {
					random := rand.New(rand.NewPCG(seed, uint64(size)))
					plan := planOf(size)
					c := joined(t, plan, jitter(plan, seed))
					defer c.close()
					for step := range uint64(8) {
						given := make([][]byte, size)
						for rank := range given {
							length := []int{0, 1, 300, chunkBytes, chunkBytes + 1, 5 * chunkBytes}[random.IntN(6)]
							given[rank] = bytes.Repeat([]byte{byte(rank), byte(step)}, length/2)
						}
						c.each(func(_, rank int, links *Links) {
							links.Begin(step, time.Now().Add(time.Minute))
							got, err := links.Group().AllGather(given[rank])
							if err != nil || !slices.EqualFunc(got, given, bytes.Equal) {
								t.Errorf("rank %d of %d, step %d, seed %d: wrong (%v)", rank, size, step, seed, err)
							}
						})
					}
				})
			}
		})
	}
}

// Operations follow one another without a pause, so that fast ranks run into slow ones.
func TestManyOperations(t *testing.T) {
	plan := planOf(3)
	c := joined(t, plan, nil)
	c.each(func(_, rank int, links *Links) {
		sums := make([]int32, 500)
		for step := range uint64(50) {
			links.Begin(step, time.Now().Add(time.Minute))
			for op := range 20 {
				for i := range sums {
					sums[i] = int32(rank + op)
				}
				if err := links.Group().AllReduce(sums); err != nil || sums[0] != int32(3*op+3) || sums[499] != sums[0] {
					t.Errorf("rank %d step %d: sum %d, %v", rank, step, sums[0], err)
					return
				}
			}
			got, err := links.Group().AllGather([]byte{byte(rank)})
			if err != nil || got[0][0] != 0 || got[1][0] != 1 || got[2][0] != 2 {
				t.Errorf("rank %d step %d: %v, %v", rank, step, got, err)
				return
			}
		}
	})
}

func TestSolo(t *testing.T) {
	g := Solo()
	sums, given := []int32{1, -2}, []byte("mine")
	n := testing.AllocsPerRun(10, func() {
		if err := g.AllReduce(sums); err != nil || sums[0] != 1 || sums[1] != -2 {
			t.Errorf("sums %v, %v", sums, err)
		}
		if got, err := g.AllGather(given); err != nil || len(got) != 1 || !bytes.Equal(got[0], given) {
			t.Errorf("gathered %q, %v", got, err)
		}
	})
	if n != 0 || g.Rank() != 0 || g.Size() != 1 {
		t.Errorf("%v allocations, rank %d of %d", n, g.Rank(), g.Size())
	}
}

func TestNoAllocations(t *testing.T) {
	c := joined(t, planOf(2, 2), nil)
	start, done := make(chan uint64), make(chan error)
	step := func(stage int, links *Links, sums []int32, x []float32) error {
		if stage == 1 {
			if err := links.Recv(x); err != nil {
				return err
			}
		}
		if err := links.Group().AllReduce(sums); err != nil {
			return err
		}
		if _, err := links.Group().AllGather(links.out[:0]); err != nil {
			return err
		}
		return links.Send(x)
	}
	var wg sync.WaitGroup
	for node, links := range c.links {
		stage, _, _ := c.plan.Find(node)
		wg.Go(func() {
			sums, x := make([]int32, 40_000), make([]float32, 5120)
			for id := range start {
				links.Begin(id, time.Now().Add(time.Minute))
				done <- step(stage, links, sums, x)
			}
		})
	}
	id := uint64(0)
	run := func() {
		id++
		for range 4 {
			start <- id
		}
		for range 4 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	for range 20 {
		run()
	}
	if n := testing.AllocsPerRun(50, run); n != 0 {
		t.Errorf("%v allocations per step", n)
	}
	close(start)
	wg.Wait()
}

// When one rank does something else, all fail with a reason, at once, and stay failed.
func TestFaults(t *testing.T) {
	for _, test := range []struct {
		name string
		odd  func(*cluster, *Links) error // what rank 0 of three does instead
		want error                        // what the others get, or transport.ErrPeerGone after one that got it
	}{
		{"closes", func(_ *cluster, l *Links) error { return l.Close() }, transport.ErrPeerGone},
		{"dies", func(c *cluster, _ *Links) error { return c.networks["s0r0"].Close() }, transport.ErrPeerGone},
		{"loses its connections", func(c *cluster, _ *Links) error {
			c.hub.Break("s0r0", "s0r1")
			c.hub.Break("s0r0", "s0r2")
			return nil
		}, transport.ErrPeerGone},
		{"is silent", func(*cluster, *Links) error { return nil }, transport.ErrDeadline},
		{"is cut off", func(c *cluster, l *Links) error {
			c.hub.Cut("s0r0", "s0r1")
			c.hub.Cut("s0r0", "s0r2")
			return l.Group().AllReduce(make([]int32, 10))
		}, transport.ErrDeadline},
		{"sends too little", func(_ *cluster, l *Links) error { return l.Group().AllReduce(make([]int32, 9)) }, ErrMismatch},
		{"does something else", func(_ *cluster, l *Links) error {
			_, err := l.Group().AllGather(make([]byte, 40))
			return err
		}, ErrMismatch},
		{"is a step behind", func(_ *cluster, l *Links) error {
			l.Begin(1, time.Now().Add(time.Second))
			return l.Group().AllReduce(make([]int32, 10))
		}, ErrMismatch},
		{"follows another epoch", func(_ *cluster, l *Links) error {
			l.session.header.Epoch--
			return l.Group().AllReduce(make([]int32, 10))
		}, ErrMismatch},
		{"loses a frame", func(_ *cluster, l *Links) error {
			l.group.peers[1].sent++
			l.group.peers[2].sent++
			return l.Group().AllReduce(make([]int32, 10))
		}, ErrMismatch},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := joined(t, planOf(3), nil)
				defer c.close()
				start := time.Now()
				c.each(func(_, rank int, links *Links) {
					links.Begin(2, start.Add(time.Second))
					if rank == 0 {
						_ = test.odd(c, links)
						return
					}
					err := links.Group().AllReduce(make([]int32, 10))
					if !errors.Is(err, ErrBroken) || !errors.Is(err, test.want) && !errors.Is(err, transport.ErrPeerGone) {
						t.Errorf("rank %d: %v, want %v", rank, err, test.want)
					}
					links.Begin(3, start.Add(time.Hour))
					if again := links.Group().AllReduce(make([]int32, 10)); again != err {
						t.Errorf("rank %d afterwards: %v", rank, again)
					}
					if _, again := links.Group().AllGather(nil); again != err {
						t.Errorf("rank %d afterwards: %v", rank, again)
					}
				})
				if took := time.Since(start); took > time.Second {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// A rank that would give more than the limit fails before it sends anything, and one that gives more nevertheless is
// refused by the others.
func TestAllGatherLimit(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 64 MiB")
	}
	for _, honest := range []bool{true, false} {
		c := joined(t, planOf(2), nil)
		c.each(func(_, rank int, links *Links) {
			links.Begin(1, time.Now().Add(time.Minute))
			want := transport.ErrTooLarge
			var err error
			switch {
			case rank == 1 && honest:
				want = transport.ErrPeerGone
				fallthrough
			case rank == 1:
				_, err = links.Group().AllGather(nil)
			case honest:
				_, err = links.Group().AllGather(make([]byte, gatherMax+1))
			default:
				want = transport.ErrPeerGone
				for part := make([]byte, 1<<20); err == nil; {
					err = links.session.send(links.group.peers[1], transport.KindGather, transport.FlagMore, part)
				}
			}
			if !errors.Is(err, ErrBroken) || !errors.Is(err, want) {
				t.Errorf("rank %d, honest %v: %v, want %v", rank, honest, err, want)
			}
		})
	}
}

func BenchmarkAllReduce(b *testing.B) {
	for _, ranks := range []int{2, 4} {
		for _, length := range []int{2048, 5120, 512 * 2048} {
			b.Run(fmt.Sprintf("ranks=%d/sums=%d", ranks, length), func(b *testing.B) {
				c := joined(b, planOf(ranks), nil)
				b.SetBytes(int64(4 * length))
				b.ReportAllocs()
				c.each(func(_, _ int, links *Links) {
					sums := make([]int32, length)
					links.Begin(1, time.Time{})
					for range b.N {
						if err := links.Group().AllReduce(sums); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}
