package node

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"polynode/cluster"
	"polynode/shard"
)

// fate makes things happen to a world. It belongs to one goroutine; several may work on one world.
type fate struct {
	*world
	random *rand.Rand
}

// claim takes a machine that runs and to which nothing happens yet; nil if there is none.
func (w *fate) claim() *box {
	up := w.up()
	w.mu.Lock()
	defer w.mu.Unlock()
	up = slices.DeleteFunc(up, func(b *box) bool { return b.claimed })
	if len(up) == 0 {
		return nil
	}
	b := up[w.random.IntN(len(up))]
	b.claimed = true
	return b
}

func (w *fate) free(b *box) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b.claimed = false
}

// happen makes one thing happen to some machine, and waits until it is over.
func (w *fate) happen(ctx context.Context) {
	b := w.claim()
	if b == nil {
		return
	}
	defer w.free(b)
	up := w.up()
	for_ := func(most int) time.Duration { return time.Duration(1+w.random.IntN(most)) * time.Millisecond }
	switch w.random.IntN(11) {
	case 0, 1: // with its disk
		b.crash(ctx)
		w.pass(for_(8000))
		w.again(ctx, b)
	case 2: // without
		if len(up) < 3 || b.whole { // nobody may have what it had
			return
		}
		b.crash(ctx)
		lost := b.id
		b.wipe()
		w.pass(for_(3000))
		w.forget(ctx, lost)
		w.again(ctx, b)
	case 3: // in good order
		if len(up) < 2 {
			return
		}
		b.stop(ctx)
		w.pass(for_(4000))
		w.again(ctx, b)
	case 4:
		other := up[w.random.IntN(len(up))]
		if other == b {
			return
		}
		w.hurt(b)
		w.hurt(other)
		w.event("nothing goes from %s to %s", b.name, other.name)
		w.hub.Cut(string(b.id), string(other.id))
		w.pass(for_(6000))
		w.hub.Heal(string(b.id), string(other.id))
		w.event("%s reaches %s again", b.name, other.name)
		w.hurt(b)
		w.hurt(other)
	case 5, 6: // a machine that stands still, or is behind a cable that was pulled
		w.alone(b, for_(6000))
	case 7:
		w.slow(b, time.Duration(10+w.random.IntN(150))*time.Millisecond, for_(4000))
	case 8:
		w.noise(for_(5000))
	case 9:
		if len(up) < 6 {
			joins := w.add(string(rune('a'+len(w.boxes()))), w.random.IntN(2) == 0)
			joins.claimed = true
			w.again(ctx, joins)
			w.free(joins)
		}
	case 10:
		if w.random.IntN(2) == 0 && len(up) > 1 {
			w.drainOne(ctx, b)
			return
		}
		if leader := w.leader(); leader != nil {
			w.hurt(leader)
			w.event("%s hands over", leader.name)
			if err := leader.running().cluster.StepDown(ctx); err != nil {
				w.event("hand over: %v", err)
			}
		}
	}
}

// again starts a machine that is down.
func (w *world) again(ctx context.Context, b *box) {
	starting, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := b.start(starting); err != nil {
		w.witness.complain("%v", err)
	}
}

// forget has the cluster forget a node that is lost for good.
func (w *world) forget(ctx context.Context, id shard.NodeID) {
	w.within(30*time.Second, "a lost machine is forgotten", func() bool {
		leader := w.leader()
		if leader == nil {
			return false
		}
		n := leader.running()
		node, there := n.cluster.State().Nodes[id]
		if !there || node.Phase == cluster.Gone {
			return true
		}
		_, err := n.cluster.Propose(ctx, cluster.ForgetNode(node))
		return err == nil
	})
}

// alone cuts one machine off from all others for a while.
func (w *fate) alone(b *box, most time.Duration) {
	w.hurt(b)
	w.event("%s is alone", b.name)
	w.between(b, w.hub.Cut)
	w.pass(most)
	w.between(b, w.hub.Heal)
	w.event("%s is back", b.name)
	w.hurt(b)
}

// between does something to all ways from and to a machine.
func (w *world) between(b *box, do func(from, to string)) {
	for _, other := range w.boxes() {
		if other != b {
			do(string(b.id), string(other.id))
			do(string(other.id), string(b.id))
		}
	}
}

// slow makes all ways of a machine long for a while.
func (w *fate) slow(b *box, delay, most time.Duration) {
	w.hurt(b)
	w.event("%s is slow, %v", b.name, delay)
	w.between(b, func(from, to string) { w.hub.Delay(from, to, delay) })
	w.pass(most)
	w.between(b, func(from, to string) { w.hub.Delay(from, to, w.delay) })
	w.event("%s is fast again", b.name)
	w.hurt(b)
}

// noise loses, doubles and reorders packets between all machines for a while, and breaks connections.
func (w *fate) noise(most time.Duration) {
	boxes := w.boxes()
	loss, twice := w.random.Float64()*0.2, w.random.Float64()*0.3
	w.event("noise: %.0f %% of the packets are lost, %.0f %% come twice", 100*loss, 100*twice)
	set := func(loss, twice float64, jitter time.Duration) {
		for _, a := range boxes {
			for _, b := range boxes {
				if a != b {
					w.hub.Lose(string(a.id), string(b.id), loss)
					w.hub.Duplicate(string(a.id), string(b.id), twice)
					w.hub.Jitter(string(a.id), string(b.id), jitter)
				}
			}
		}
	}
	set(loss, twice, 20*time.Millisecond)
	w.pass(most / 2)
	if a, b := boxes[w.random.IntN(len(boxes))], boxes[w.random.IntN(len(boxes))]; a != b {
		w.hurt(a)
		w.hurt(b)
		w.event("all connections between %s and %s break", a.name, b.name)
		w.hub.Break(string(a.id), string(b.id))
	}
	w.pass(most / 2)
	set(0, 0, 0)
	w.event("quiet again")
}

// drainOne takes a machine out of the plan and puts it back.
func (w *fate) drainOne(ctx context.Context, b *box) {
	w.event("%s is drained", b.name)
	w.phase(b, "drain")
	w.pass(time.Duration(w.random.IntN(4000)) * time.Millisecond)
	w.event("%s is not drained any more", b.name)
	w.phase(b, "undrain")
	_ = ctx
}

// phase asks the cluster for a change as an operator does, until it says yes.
func (w *world) phase(b *box, verb string) {
	w.within(40*time.Second, verb+" "+b.name, func() bool {
		up := w.up()
		return len(up) > 0 && w.phaseOnce(up[0], b, verb)
	})
}

// phaseOnce asks for it through one machine, and reports whether that says yes.
func (w *world) phaseOnce(at, b *box, verb string) bool {
	n := at.running()
	if n == nil {
		return false
	}
	client := n.Client()
	defer client.CloseIdleConnections()
	response, err := client.Post("http://localhost/cluster/v1/nodes/"+string(b.id)+"/"+verb, "application/json", nil)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// calm ends everything that is wrong, and waits until all machines are in the plan.
func (w *world) calm(ctx context.Context) {
	w.event("calm")
	took := w.within(90*time.Second, "a plan of all", func() bool { return w.settledOn(w.up()) })
	w.event("a plan of all after %v", took)
	_ = ctx
}

// rest sees that a cluster at rest answers on every machine, and that nothing of earlier requests is left.
func (w *world) rest(ctx context.Context, questions []question, total *tally) {
	for i, b := range w.up() {
		client := b.running().Client()
		q := questions[i%len(questions)]
		a := ask(ctx, client, q.fields, i%2 == 0)
		client.CloseIdleConnections()
		if !a.whole || !a.fits(q) {
			w.witness.complain("at rest, question %d through %s: %+v, want %v", i%len(questions), b.name, a, q.want)
		} else {
			total.count("right at rest")
		}
	}
	leader := w.leader()
	if leader == nil {
		w.witness.complain("nobody coordinates at rest")
		return
	}
	s := leader.running().serving()
	if s == nil {
		w.witness.complain("%s coordinates at rest, and serves nothing", leader.name)
		return
	}
	w.within(time.Second, "all blocks are free", func() bool {
		stats := s.engine.Stats()
		return stats.BlocksFree == stats.BlocksTotal && stats.Running+stats.Waiting+stats.Preempted == 0
	})
}
