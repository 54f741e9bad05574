package machines

import (
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// long is an answer that leaves time for something to happen. The demo model has room for 512 tokens.
const long = 450

// short is the beginning of it.
const short = 60

// answers are what one process says.
type answers struct {
	text    string            // the long one, token by token
	choices map[string]string // to each of the questions
}

var alone struct {
	sync.Mutex
	answers
}

// reference is what one process answers.
func reference(t *testing.T) answers {
	t.Helper()
	alone.Lock()
	defer alone.Unlock()
	if alone.text == "" {
		one := newGroup(t, shape{Stages: 1}, 1).machines[0]
		text, choices := one.stream(long).whole(), map[string]string{}
		for _, q := range questions(crowdTokens) {
			got, err := one.choices(q.body)
			if err != nil {
				t.Fatal(err)
			}
			choices[q.name] = got
		}
		alone.answers = answers{text, choices}
		one.kill()
	}
	return alone.answers
}

// crowdTokens is the length of the answers that are given beside the long one.
const crowdTokens = 64

// crowd asks a question of each kind at once. The answers are compared when the caller waits for them.
func (m *machine) crowd(what string, want answers) (wait func()) {
	var asking sync.WaitGroup
	for _, q := range questions(crowdTokens) {
		asking.Go(func() {
			got, err := m.choices(q.body)
			if err != nil {
				m.t.Errorf("%s, %s: %v", what, q.name, err)
				return
			}
			same(m.t, what+", "+q.name, got, want.choices[q.name])
		})
	}
	return asking.Wait
}

// fault is something that happens to machine b of a, b and c in the middle of an answer.
type fault struct {
	name   string
	strike func(g *group)
	mend   func(g *group) // and then b works again; nil for what is not mended
	wait   time.Duration  // before it is mended
}

var faults = []fault{
	{name: "kill -9", strike: func(g *group) { g.machines[1].kill() }},
	{
		name: "SIGSTOP for 4 s", wait: 4 * time.Second,
		strike: func(g *group) { g.machines[1].signal(syscall.SIGSTOP) },
		mend:   func(g *group) { g.machines[1].signal(syscall.SIGCONT) },
	},
	{
		name:   "cut both ways",
		strike: func(g *group) { g.machines[1].plug.unplug() },
		mend:   func(g *group) { g.machines[1].plug.replug() },
	},
	{
		name: "deaf one way",
		strike: func(g *group) {
			for _, m := range g.without(g.machines[1]) {
				g.network.deafen(g.machines[1].plug, m.plug)
			}
		},
		mend: func(g *group) {
			for _, m := range g.without(g.machines[1]) {
				g.network.hear(g.machines[1].plug, m.plug)
			}
		},
	},
	{
		name:   "power cut, and back at another address",
		strike: func(g *group) { g.machines[1].kill() },
		mend: func(g *group) {
			g.machines[1].plug.settle(77)
			if err := g.machines[1].start(task{Shape: g.shape}); err != nil {
				g.t.Error(err)
			}
		},
	},
}

// Something happens to a machine of three in the middle of an answer. The client sees a pause, and then the tokens that it would have seen; a
// machine that comes back has its place again.
func TestFaults(t *testing.T) {
	needMachines(t)
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) { f.test(t, reference(t)) })
	}
}

func (f *fault) test(t *testing.T, want answers) {
	g := newGroup(t, shape{Stages: 1}, 3)
	a, b := g.machines[0], g.machines[1]
	answer := a.stream(long)
	answer.after(30)
	others := a.crowd(f.name, want)
	answer.after(5)
	begun := time.Now()
	f.strike(g)
	a.awaitPlan(g.without(b)...)
	planned := time.Since(begun)
	answer.since(begun.Add(planned), 5)
	say(t, "%s: plan of the others after %v, longest pause of the answer %v", f.name, round(planned), round(answer.pause(begun)))
	if f.mend != nil {
		<-time.After(f.wait - time.Since(begun))
		begun = time.Now()
		f.mend(g)
		a.awaitPlan(g.machines...)
		say(t, "%s: its place again %v after it was mended", f.name, round(time.Since(begun)))
	}
	same(t, f.name, answer.whole(), want.text)
	others()
	s, err := a.status()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range s.Nodes {
		if n.Name == b.name && f.mend != nil && !strings.HasPrefix(n.Address, b.plug.address+":") {
			t.Errorf("%s is known at %s, and is at %s", n.Name, n.Address, b.plug.address)
		}
	}
	if len(s.Nodes) != len(g.machines) {
		t.Errorf("%d nodes are known, not %d: a machine did not come back as itself", len(s.Nodes), len(g.machines))
	}
	again := a.stream(short).whole()
	same(t, f.name+", asked again", again, want.text[:min(len(again), len(want.text))])
}

// A machine joins in the middle of an answer, which goes on as if nothing had happened.
func TestJoinInMidAnswer(t *testing.T) {
	needMachines(t)
	want := reference(t)
	g := newGroup(t, shape{Stages: 1}, 2)
	answer := g.machines[0].stream(long)
	answer.after(30)
	others := g.machines[0].crowd("join", want)
	answer.after(5)
	begun := time.Now()
	g.add()
	g.machines[0].awaitPlan(g.machines...)
	say(t, "join: a place in the plan after %v, longest pause of the answer %v", round(time.Since(begun)), round(answer.pause(begun)))
	same(t, "join", answer.whole(), want.text)
	others()
}
