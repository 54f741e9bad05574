package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"
)

// Bounds of a recovery, in virtual time.
const (
	noticedMax     = 2 * time.Second // until the coordinator knows that a worker is lost
	replannedMax   = time.Second     // from then until the others have a plan, if nothing has to be fetched
	coordinatedMax = 6 * time.Second // until another machine coordinates, serves, and has a plan of those that are left
)

// A worker that dies, or stands still, is noticed and replaced in time, and no request notices more than a pause.
func TestSimulatedDeathOfAWorker(t *testing.T) {
	questions := simQuestions(t)
	from, to := simSeeds(t, 12)
	for seed := from; seed <= to; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			simulate(t, seed, func(ctx context.Context, w *world) { w.loseWorker(ctx, questions) })
		})
	}
}

// grow starts so many machines, each with the whole model, and waits for a plan of all.
func (w *world) grow(ctx context.Context, size int) bool {
	for i := range size {
		if err := w.add(string(rune('a'+i)), true).start(ctx); err != nil {
			w.t.Error(err)
			return false
		}
	}
	w.within(20*time.Second, "the first plan of all", func() bool { return w.settledOn(w.up()) })
	w.pass(time.Duration(w.random.IntN(3000)) * time.Millisecond)
	return true
}

func (w *world) loseWorker(ctx context.Context, questions []question) {
	if !w.grow(ctx, 3+w.random.IntN(4)) {
		return
	}
	leader := w.leader()
	var workers []*box
	for _, b := range w.up() {
		if b != leader {
			workers = append(workers, b)
		}
	}
	lost := workers[w.random.IntN(len(workers))]
	asking, clients := w.askAll(ctx, questions, lost)
	w.pass(time.Duration(w.random.IntN(300)) * time.Millisecond)
	begun := time.Now()
	n, id, frozen := leader.running(), lost.id, w.random.IntN(2) == 0
	if frozen {
		w.event("%s stands still", lost.name)
		w.between(lost, w.hub.Cut)
	} else {
		w.event("%s dies", lost.name)
		_ = lost.network.Close()
	}
	noticed := w.within(noticedMax, "the coordinator misses a worker", func() bool { return !n.alive(id) })
	w.within(replannedMax, "a plan of the others", func() bool {
		plan := n.Info().plan
		if plan == nil {
			return false
		}
		_, _, there := plan.Find(id)
		return !there
	})
	w.t.Logf("missed after %v, replaced after %v", noticed, time.Since(begun))
	w.pass(time.Second)
	if leader != w.leader() {
		w.witness.complain("the coordinator changed because a worker was lost")
	}
	asking()
	clients.Wait()
	if frozen {
		w.between(lost, w.hub.Heal)
	} else {
		lost.crash(ctx)
		w.again(ctx, lost)
	}
	w.within(30*time.Second, "the lost one has its place again", func() bool { return w.settledOn(w.up()) })
	w.rest(ctx, questions, &tally{})
}

// askAll has clients ask every machine but one, one question after the other, until stop. Nothing excuses an error.
func (w *world) askAll(ctx context.Context, questions []question, but *box) (stop func(), clients *sync.WaitGroup) {
	asking, stop := context.WithCancel(ctx)
	clients = &sync.WaitGroup{}
	for i, b := range w.up() {
		if b == but {
			continue
		}
		random := rand.New(rand.NewPCG(w.random.Uint64(), uint64(i)))
		clients.Go(func() {
			for asking.Err() == nil {
				number := random.IntN(len(questions))
				w.mustAnswer(ctx, b, questions, number, random.IntN(2) == 0)
				w.pass(time.Duration(random.IntN(100)) * time.Millisecond)
			}
		})
	}
	return stop, clients
}

// mustAnswer asks a question that has to be answered whatever happens.
func (w *world) mustAnswer(ctx context.Context, b *box, questions []question, number int, stream bool) {
	client := b.running().Client()
	defer client.CloseIdleConnections()
	patience, cancel := context.WithTimeout(ctx, answerMax)
	defer cancel()
	begun := time.Now()
	a := ask(patience, client, questions[number].fields, stream)
	if !a.whole || !a.fits(questions[number]) {
		w.witness.complain("question %d through %s, stream %v, after %v: %+v, want %v", number, b.name, stream, time.Since(begun), a, questions[number].want)
	}
}

// When the coordinator dies, another one serves in time; requests of which nothing was seen are answered by that one, and the one that died comes
// back as a worker.
func TestSimulatedDeathOfTheCoordinator(t *testing.T) {
	questions := simQuestions(t)
	from, to := simSeeds(t, 12)
	for seed := from; seed <= to; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			simulate(t, seed, func(ctx context.Context, w *world) { w.loseCoordinator(ctx, questions) })
		})
	}
}

func (w *world) loseCoordinator(ctx context.Context, questions []question) {
	if !w.grow(ctx, 3+w.random.IntN(4)) {
		return
	}
	leader := w.leader()
	var clients sync.WaitGroup
	for i, b := range w.up() {
		if b != leader { // some ask before, some after; all want whole answers, and those come from the next coordinator
			at := time.Duration(w.random.IntN(1500)) * time.Millisecond
			clients.Go(func() {
				w.pass(at)
				w.mustAnswer(ctx, b, questions, i%len(questions), false)
			})
		}
	}
	w.pass(time.Duration(w.random.IntN(1000)) * time.Millisecond)
	begun, frozen := time.Now(), w.random.IntN(2) == 0
	if frozen {
		w.event("%s stands still", leader.name)
		w.between(leader, w.hub.Cut)
	} else {
		w.event("%s dies", leader.name)
		_ = leader.network.Close()
	}
	var rest []*box
	for _, b := range w.up() {
		if b != leader {
			rest = append(rest, b)
		}
	}
	w.within(coordinatedMax, "another coordinator, and a plan of those that are left", func() bool {
		for _, b := range rest {
			n := b.running()
			if plan := n.Info().plan; n.serving() != nil && plan != nil && len(plan.Nodes()) == len(rest) {
				return true
			}
		}
		return false
	})
	w.t.Logf("replaced after %v, stood still %v", time.Since(begun), frozen)
	clients.Wait()
	next := w.leader()
	if frozen {
		w.between(leader, w.hub.Heal)
	} else {
		leader.crash(ctx)
		w.again(ctx, leader)
	}
	w.within(30*time.Second, "the former coordinator has a place", func() bool { return w.settledOn(w.up()) })
	if w.leader() != next || leader.running().serving() != nil {
		w.witness.complain("the former coordinator is no worker")
	}
	w.rest(ctx, questions, &tally{})
}

// Streams whose coordinator dies end at once with an error that says so, and everything that they gave was right.
func TestSimulatedStreamOverTheCoordinatorsDeath(t *testing.T) {
	questions := simQuestions(t)
	from, to := simSeeds(t, 6)
	for seed := from; seed <= to; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			simulate(t, seed, func(ctx context.Context, w *world) { w.cutStreams(ctx, questions) })
		})
	}
}

func (w *world) cutStreams(ctx context.Context, questions []question) {
	if !w.grow(ctx, 3) {
		return
	}
	leader := w.leader()
	var streams sync.WaitGroup
	begun := make(chan struct{}, 2)
	var died time.Time
	for _, b := range w.up() {
		if b == leader {
			continue
		}
		streams.Go(func() {
			client := b.running().Client()
			defer client.CloseIdleConnections()
			a := askWith(ctx, client, questions[longQuestion].fields, true, begun)
			switch {
			case a.status != http.StatusOK || a.whole || a.code != "coordinator_lost" || !a.fits(questions[longQuestion]):
				w.witness.complain("a stream through %s ended with %+v", b.name, a)
			case time.Since(died) > noticedMax+coordinatedMax:
				w.witness.complain("a stream through %s ended %v after its coordinator", b.name, time.Since(died))
			}
			w.t.Logf("a stream through %s ended %v after its coordinator", b.name, time.Since(died))
		})
	}
	<-begun
	<-begun
	died = time.Now()
	if w.random.IntN(2) == 0 {
		w.event("%s stands still", leader.name)
		w.between(leader, w.hub.Cut)
	} else {
		w.event("%s dies", leader.name)
		_ = leader.network.Close()
	}
	streams.Wait()
	w.between(leader, w.hub.Heal)
}

// What a coordinator sent before it was cut off arrives when it is not one any more, and is refused: no rank goes back to an older epoch.
func TestSimulatedLateFrames(t *testing.T) {
	from, to := simSeeds(t, 12)
	for seed := from; seed <= to; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			simulate(t, seed, func(ctx context.Context, w *world) { w.beLate(ctx) })
		})
	}
}

func (w *world) beLate(ctx context.Context) {
	if !w.grow(ctx, 4) {
		return
	}
	leader := w.leader()
	var other *box
	for _, b := range w.up() {
		if b != leader {
			other = b
		}
	}
	const slow = 150 * time.Millisecond // each way: a plan takes several round trips, and any of them may be cut
	w.between(leader, func(from, to string) { w.hub.Delay(from, to, slow) })
	w.pass(time.Second)
	w.event("%s is drained", other.name)
	w.phaseOnce(leader, other, "drain")
	w.pass(time.Duration(w.random.IntN(1500)) * time.Millisecond)
	for _, b := range w.up() { // only what it sends: what it is sent still arrives, so that it goes on for a while
		if b != leader {
			w.hub.Cut(string(leader.id), string(b.id))
		}
	}
	w.event("%s is heard no more", leader.name)
	w.within(20*time.Second, "another coordinator", func() bool { return w.leader() != nil && w.leader() != leader })
	w.within(20*time.Second, "it serves", func() bool {
		next := w.leader()
		return next != nil && next.running().serving() != nil
	})
	w.between(leader, w.hub.Heal)
	w.between(leader, func(from, to string) { w.hub.Delay(from, to, w.delay) })
	w.event("%s is heard again", leader.name)
	w.phase(other, "undrain")
	w.within(60*time.Second, "a plan of all", func() bool { return w.settledOn(w.up()) })
}
