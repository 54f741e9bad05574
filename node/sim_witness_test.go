package node

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"polynode/transport"
)

// witness sees what a world does and holds it against what must hold. It shares no code with what it checks: it reads the log of raft, the states
// that nodes agree on, and the frames that they send.
type witness struct {
	mu         sync.Mutex
	begun      time.Time
	lines      []string
	leaders    map[uint64]string // of each term
	elected    []time.Time
	plans      map[uint64]string // of each epoch
	answered   map[string]uint64 // newest epoch in which a machine's rank, in this life, has done something
	complaints []string
}

func newWitness() *witness {
	return &witness{begun: time.Now(), leaders: map[uint64]string{}, plans: map[uint64]string{}, answered: map[string]uint64{}}
}

// linesMax is how much of the log of a failed run is shown.
const linesMax = 400

func (w *witness) event(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, fmt.Sprintf("%8.3f %s", time.Since(w.begun).Seconds(), text))
	if len(w.lines) > 2*linesMax {
		w.lines = slices.Delete(w.lines, 0, len(w.lines)-linesMax)
	}
}

func (w *witness) complain(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.event("!!! " + text)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.complaints = append(w.complaints, text)
}

// story is the end of the log.
func (w *witness) story() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.lines[max(0, len(w.lines)-linesMax):], "\n")
}

func (w *witness) verdict() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.complaints)
}

func (w *witness) elections() []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.elected)
}

// leads notes who was elected.
func (w *witness) leads(on string, term uint64) {
	w.mu.Lock()
	other, known := w.leaders[term]
	w.leaders[term] = on
	w.elected = append(w.elected, time.Now())
	w.mu.Unlock()
	if known && other != on {
		w.complain("two coordinators in term %d: %s and %s", term, other, on)
	}
}

// follow looks at every state that a node takes over.
func (w *witness) follow(ctx context.Context, on string, n *Node) {
	var newest uint64
	for {
		changed, state := n.cluster.Changed(), n.cluster.State()
		if plan := state.Plan; plan != nil {
			epoch := uint64(plan.Epoch)
			text, err := json.Marshal(plan)
			if err != nil {
				w.complain("%s: %v", on, err)
			}
			w.mu.Lock()
			other, known := w.plans[epoch]
			w.plans[epoch] = string(text)
			w.mu.Unlock()
			if known && other != string(text) {
				w.complain("two plans of epoch %d: %s, and on %s %s", epoch, other, on, text)
			}
			if epoch < newest {
				w.complain("%s goes back from epoch %d to %d", on, newest, epoch)
			}
			newest = epoch
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// did notes that a machine's rank did what a frame of an epoch asked for.
func (w *witness) did(on string, port *simPort, epoch uint64) {
	key := fmt.Sprintf("%s %p", on, port)
	w.mu.Lock()
	newest := w.answered[key]
	w.answered[key] = max(newest, epoch)
	w.mu.Unlock()
	if epoch < newest {
		w.complain("the rank of %s worked in epoch %d after epoch %d", on, epoch, newest)
	}
}

// simPort is a machine's door to the network, with the witness at it.
type simPort struct {
	*transport.MemoryNode
	witness *witness
	on      string
}

// Recheck has nothing to do: nobody is a stranger in a simulation.
func (p *simPort) Recheck() {}

// Accept lets the witness see what a coordinator asks of a rank, and what the rank answers.
func (p *simPort) Accept(ctx context.Context, class transport.Class) (transport.Conn, error) {
	conn, err := p.MemoryNode.Accept(ctx, class)
	if err != nil || class != transport.ClassControl {
		return conn, err
	}
	return &simConn{conn, p}, nil
}

type simConn struct {
	transport.Conn
	port *simPort
}

// Send sees the answers of a rank.
func (c *simConn) Send(frame *transport.Frame) error {
	if frame.Kind == transport.KindDone {
		c.port.witness.did(c.port.on, c.port, frame.Epoch)
	}
	return c.Conn.Send(frame)
}

// witnessLog is the log of one machine, as the witness reads it.
type witnessLog struct {
	witness *witness
	on      string
	attrs   []slog.Attr
}

var _ slog.Handler = (*witnessLog)(nil)

// Enabled lets raft's words on elections through, which are for debugging elsewhere.
func (l *witnessLog) Enabled(context.Context, slog.Level) bool { return true }

// Handle reads one line.
func (l *witnessLog) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "election won" {
		r.Attrs(func(a slog.Attr) bool {
			if term, ok := a.Value.Any().(uint64); ok && a.Key == "term" {
				l.witness.leads(l.on, term)
			}
			return true
		})
	}
	if r.Level < slog.LevelInfo {
		return nil
	}
	text := l.on + ": " + r.Message
	tell := func(a slog.Attr) bool {
		text += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	}
	for _, a := range l.attrs {
		tell(a)
	}
	r.Attrs(tell)
	l.witness.event(text)
	return nil
}

// WithAttrs implements slog.Handler.
func (l *witnessLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &witnessLog{l.witness, l.on, append(slices.Clone(l.attrs), attrs...)}
}

// WithGroup implements slog.Handler.
func (l *witnessLog) WithGroup(string) slog.Handler { return l }

// watchdogTime is real time that a run may take: a mutex that somebody holds over waiting stops a bubble's clock for ever.
const watchdogTime = 90 * time.Second

// watchdog ends the process with all stacks when a run does not end. It is told when the run has ended.
func watchdog(name string) (ended func()) {
	timer := time.AfterFunc(watchdogTime, func() {
		stacks := make([]byte, 16<<20)
		panic(fmt.Sprintf("%s: the bubble's clock stands still\n%s", name, stacks[:runtime.Stack(stacks, true)]))
	})
	return func() { timer.Stop() }
}

// The witness can see: what it is there to find is found.
func TestTheWitnessSees(t *testing.T) {
	w := newWitness()
	w.leads("a", 1)
	w.leads("a", 1)
	w.leads("b", 2)
	port := &simPort{}
	w.did("a", port, 3)
	w.did("a", port, 3)
	if got := w.verdict(); len(got) != 0 {
		t.Errorf("complaints without a cause: %q", got)
	}
	w.leads("b", 1)
	w.did("a", port, 2)
	if got := w.verdict(); len(got) != 2 {
		t.Errorf("complaints %q, want two", got)
	}
}
