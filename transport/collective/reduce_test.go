package collective

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"polynode/shard"
	"polynode/transport"
)

// Two steps are for groups of three and more, and for what is long enough.
func TestTwoSteps(t *testing.T) {
	for _, c := range []struct {
		sums, ranks int
		delay       int64
		want        bool
	}{
		{1 << 30, 1, delayBytes, false}, {1 << 30, 2, delayBytes, false}, {1 << 30, 2, 1, false}, // no fewer bytes
		{5120, 3, delayBytes, false}, {5120, 4, delayBytes, false}, {20 * 5120, 3, delayBytes, true}, {512 * 5120, 4, delayBytes, true},
		{5120, 8, delayBytes, true}, {64, 16, delayBytes, false},
		{5120, 3, 1000, true}, {20 * 5120, 3, 1 << 20, false}, {512 * 5120, 4, shard.DelayBytesMax, false}, // slow and fast links
	} {
		if got := twoSteps(c.sums, c.ranks, c.delay); got != c.want {
			t.Errorf("%+v: two steps %v", c, got)
		}
	}
}

// Whatever the number of chunks, each exchange comes once, the whole sums of a chunk after its parts, and with as many exchanges between
// that the parts have been received when they are needed.
func TestExchanges(t *testing.T) {
	for chunks := 1; chunks < 8; chunks++ {
		r := reduction{sums: make([]int32, chunks), two: true, length: 1, chunks: chunks}
		for i := range r.sums {
			r.sums[i] = int32(i)
		}
		parts, wholes := map[int32]int{}, map[int32]int{}
		for i := range 2 * chunks {
			chunk, whole := r.exchange(i)
			if !whole {
				parts[chunk[0]] = i
				continue
			}
			wholes[chunk[0]] = i
			if part, ok := parts[chunk[0]]; !ok || chunks > 1 && part > i-2 {
				t.Errorf("%d chunks: exchange %d is of sums that are there at %d", chunks, i, part)
			}
		}
		if len(parts) != chunks || len(wholes) != chunks {
			t.Errorf("%d chunks: %v and %v", chunks, parts, wholes)
		}
	}
}

// Slices of a chunk are all of it, and none is longer than a frame.
func TestSlices(t *testing.T) {
	for _, ranks := range []int{3, 4, 7} {
		for _, n := range []int{1, 63, 64, 65, 1000, ranks*chunkSums - 1, ranks * chunkSums} {
			chunk, total := make([]int32, n), 0
			for rank := range ranks {
				part := slice(chunk, rank, ranks)
				if total += len(part); len(part) > chunkSums {
					t.Errorf("%d sums, rank %d of %d has %d", n, rank, ranks, len(part))
				}
			}
			if total != n {
				t.Errorf("%d sums in %d slices are %d", n, ranks, total)
			}
		}
	}
	if packed := appendPacked(nil, []int32{1 << 31 >> 1}); packedMax(chunkSums)+packSlack > chunkBytes || len(packed) > packedMax(1) {
		t.Errorf("%d packed sums may take %d bytes, a frame has %d", chunkSums, packedMax(chunkSums), chunkBytes)
	}
}

// Two steps send fewer bytes.
func TestTraffic(t *testing.T) {
	const ranks, n = 4, 200_000
	c := joined(t, planOf(ranks), nil)
	random := rand.New(rand.NewPCG(5, 6))
	mine := make([][]int32, ranks)
	for rank := range mine {
		mine[rank] = make([]int32, n)
		for i := range mine[rank] {
			mine[rank][i] = int32(random.NormFloat64() * 10_000)
		}
	}
	c.each(func(_, rank int, links *Links) {
		links.Begin(1, time.Now().Add(time.Minute))
		before := links.Traffic()
		if err := links.Group().AllReduce(mine[rank]); err != nil {
			t.Error(err)
		}
		used := links.Traffic().Minus(before)
		if most := int64(2 * (ranks - 1) * n / ranks * 9 / 4); used.BytesSent > most || used.BytesSent < most/2 || used.BytesReceived > most {
			t.Errorf("rank %d sent %d bytes and received %d, at most %d expected", rank, used.BytesSent, used.BytesReceived, most)
		}
		if used.FramesSent != used.FramesReceived || used.FramesSent == 0 || used.Waiting <= 0 {
			t.Errorf("rank %d: %+v", rank, used)
		}
	})
}

// A peer that goes in the middle of any phase of a long all-reduce, or is cut off from one or all others, breaks every rank's links
// in time, and no rank takes part of a sum for the whole.
func TestCuts(t *testing.T) {
	const ranks, n = 3, 150_000
	for cut := range 12 {
		for _, way := range []string{"dies", "is cut off", "loses one peer"} {
			t.Run(fmt.Sprintf("rank 0 %s after %d ms", way, cut), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					plan := planOf(ranks)
					c := joined(t, plan, func(hub *transport.Memory) {
						for _, from := range plan.Nodes() {
							for _, to := range plan.Nodes() {
								hub.Delay(string(from), string(to), 1500*time.Microsecond)
							}
						}
					})
					defer c.close()
					random := rand.New(rand.NewPCG(uint64(cut), 9))
					mine, want := parts(random, ranks, n)
					start := time.Now()
					var wg sync.WaitGroup
					wg.Go(func() {
						time.Sleep(time.Duration(cut) * time.Millisecond)
						switch way {
						case "dies":
							_ = c.networks["s0r0"].Close()
						case "is cut off":
							c.hub.Cut("s0r0", "s0r1")
							c.hub.Cut("s0r0", "s0r2")
						case "loses one peer":
							c.hub.Break("s0r0", "s0r1")
						}
					})
					failed := make([]error, ranks)
					c.each(func(_, rank int, links *Links) {
						links.Begin(1, start.Add(time.Second))
						failed[rank] = links.Group().AllReduce(mine[rank])
					})
					wg.Wait()
					for rank, err := range failed {
						if err == nil && !slices.Equal(mine[rank], want) {
							t.Errorf("rank %d has wrong sums and no error", rank)
						}
						if err != nil && !errors.Is(err, ErrBroken) {
							t.Errorf("rank %d: %v", rank, err)
						}
					}
					if took := time.Since(start); took > time.Second {
						t.Errorf("it took %v", took)
					}
				})
			})
		}
	}
}
