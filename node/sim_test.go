package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// simSeeds are the seeds to run: the first so many, or what POLYNODE_SIM_SEEDS says: one, or FROM-TO.
func simSeeds(t *testing.T, usual uint64) (from, to uint64) {
	t.Helper()
	text := os.Getenv("POLYNODE_SIM_SEEDS")
	if text == "" && testing.Short() {
		usual = max(2, usual/10)
	}
	if text == "" {
		return 1, usual
	}
	first, last, several := strings.Cut(text, "-")
	if !several {
		last = first
	}
	from, err := strconv.ParseUint(first, 10, 64)
	if err == nil {
		to, err = strconv.ParseUint(last, 10, 64)
	}
	if err != nil {
		t.Fatalf("POLYNODE_SIM_SEEDS=%s: want a number, or two with a dash", text)
	}
	return from, to
}

// Whatever happens to some machines of a cluster, every request ends once and right or with an error that has a cause, and the cluster comes
// to rest again.
func TestSimulation(t *testing.T) {
	questions := simQuestions(t)
	from, to := simSeeds(t, 40)
	var total tally
	for seed := from; seed <= to; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			simulate(t, seed, func(ctx context.Context, w *world) { w.live(ctx, questions, &total) })
		})
	}
	t.Cleanup(func() { t.Log(total.counts) })
}

// live forms a cluster, has clients ask it while things happen to it, and sees it come to rest.
func (w *world) live(ctx context.Context, questions []question, total *tally) {
	size := 1 + w.random.IntN(5)
	w.event("%d machines, %v each way", size, w.delay)
	for i := range size {
		if err := w.add(string(rune('a'+i)), i < 2 || w.random.IntN(2) == 0).start(ctx); err != nil {
			w.t.Error(err)
			return
		}
	}
	w.within(20*time.Second, "the first plan of all", func() bool { return w.settledOn(w.up()) })
	asking, stop := context.WithCancel(ctx)
	var clients sync.WaitGroup
	for i := range 3 {
		random := rand.New(rand.NewPCG(w.random.Uint64(), uint64(i)))
		clients.Go(func() {
			for asking.Err() == nil {
				w.visit(ctx, random, questions, total)
				w.pass(time.Duration(random.IntN(2000)) * time.Millisecond)
			}
		})
	}
	var fates sync.WaitGroup
	for range 1 + w.random.IntN(2) { // two of them make things happen at the same time
		random := rand.New(rand.NewPCG(w.random.Uint64(), 2))
		fates.Go(func() {
			f := &fate{world: w, random: random}
			for range 3 + random.IntN(5) {
				w.pass(time.Duration(random.IntN(3000)) * time.Millisecond)
				f.happen(ctx)
			}
		})
	}
	fates.Wait()
	w.calm(ctx)
	stop()
	clients.Wait()
	w.rest(ctx, questions, total)
}
