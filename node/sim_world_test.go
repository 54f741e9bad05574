package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"polynode/cluster"
	"polynode/cluster/member"
	"polynode/cluster/trust"
	"polynode/configs"
	"polynode/shard"
	"polynode/shard/planner"
	"polynode/transport"
)

// world is whole nodes over a network in memory, in the virtual time of a synctest bubble. Everything that happens to them comes from one seed.
// Computing takes no virtual time; the network's delays make steps last.
type world struct {
	t       *testing.T
	random  *rand.Rand // of the goroutine that makes things happen
	hub     *transport.Memory
	witness *witness
	delay   time.Duration // of each way between two machines
	plan    plannerFunc

	mu       sync.Mutex
	machines []*box
	trouble  []trouble // what may cost a request
}

// trouble is something that may cost a request: of one machine, or of all if it hit the coordinator.
type trouble struct {
	at  time.Time
	box *box // nil for all
}

// box is one machine.
type box struct {
	world   *world
	name    string
	config  configs.Config
	whole   bool // it was given the whole model
	claimed bool // something happens to it
	id      shard.NodeID
	network *simPort // nil while it is down
	node    *Node    // nil while it is down
	lives   int      // how often it was started
	watched chan struct{}
	unwatch context.CancelFunc
}

// simFacts are what every machine is said to be able to do.
var simFacts = cluster.Facts{Version: "sim", Cores: 1, MemoryBytes: 1 << 30, BytesPerSecond: 1e10, OpsPerSecond: 1e11}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, random: rand.New(rand.NewPCG(seed, 1)), hub: transport.NewMemory(), witness: newWitness()}
	w.hub.Seed(seed)
	w.delay = time.Duration(200+w.random.IntN(3000)) * time.Microsecond
	w.plan = shaped(1 + w.random.IntN(3))
	return w
}

// simHeads is how many ranks of the simulated model may share a stage.
const simHeads = 4

// shaped is a planner that uses all nodes, in so many stages if their number allows it.
func shaped(stages int) plannerFunc {
	return func(p planner.Problem) (planner.Report, error) {
		p.Nodes = slices.DeleteFunc(slices.Clone(p.Nodes), func(n planner.Node) bool { return n.Witness })
		return together(max(stages, (len(p.Nodes)+simHeads-1)/simHeads))(p)
	}
}

// event enters something into the log of the run.
func (w *world) event(format string, args ...any) { w.witness.event(fmt.Sprintf(format, args...)) }

// add makes a machine whose disk is empty, or has the whole model on it.
func (w *world) add(name string, whole bool) *box {
	b := &box{world: w, name: name, whole: whole, config: configs.Default()}
	b.config.Name, b.config.HTTP, b.config.Listen, b.config.Threads, b.config.NetworkThreads = name, "", "0.0.0.0:7946", 1, 1
	b.config.KVMemory, b.config.Data = 4<<20, simFolder(w.t)
	if whole {
		giveModel(w.t, b.config.Data)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.machines) == 0 {
		b.config.Model = simModelName
	}
	w.machines = append(w.machines, b)
	return b
}

// identify reads or makes the name of a machine in the cluster, and gives it its place in the network.
func (b *box) identify() error {
	folder, err := trust.OpenFolder(filepath.Join(b.config.Data, "state"))
	if err != nil {
		return err
	}
	self, err := folder.Identity()
	if err != nil || self.ID() == b.id {
		return err
	}
	b.id = self.ID()
	for _, other := range b.world.boxes() {
		if other != b && other.id != "" {
			b.world.hub.Delay(string(b.id), string(other.id), b.world.delay)
			b.world.hub.Delay(string(other.id), string(b.id), b.world.delay)
		}
	}
	return nil
}

func (w *world) boxes() []*box {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.machines)
}

// up are the machines that run.
func (w *world) up() []*box {
	return slices.DeleteFunc(w.boxes(), func(b *box) bool { return b.running() == nil })
}

func (b *box) running() *Node {
	b.world.mu.Lock()
	defer b.world.mu.Unlock()
	return b.node
}

// start starts a machine. One that is in no cluster founds one if it is the first, or else joins.
func (b *box) start(ctx context.Context) error {
	w := b.world
	if err := b.identify(); err != nil {
		return err
	}
	if others := w.up(); len(others) > 0 && !member.Exists(filepath.Join(b.config.Data, "state")) {
		if err := b.join(ctx); err != nil {
			return fmt.Errorf("join %s: %w", b.name, err)
		}
	}
	b.lives++
	w.event("%s starts, life %d, is %.6s", b.name, b.lives, b.id)
	facts := simFacts
	n, err := startFrom(ctx, b.config, b.logger(), parts{models: newModels(b.config), plan: w.plan, open: b.open, facts: &facts})
	if err != nil {
		return fmt.Errorf("start %s: %w", b.name, err)
	}
	w.mu.Lock()
	b.node = n
	w.mu.Unlock()
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	b.unwatch, b.watched = stop, make(chan struct{})
	go func() {
		defer close(b.watched)
		w.witness.follow(watching, b.name, n)
	}()
	return nil
}

func (b *box) logger() *slog.Logger {
	return slog.New(&witnessLog{witness: b.world.witness, on: b.name})
}

func (b *box) open(_ context.Context, config transport.QUICConfig) (member.Port, error) {
	inner, err := b.world.hub.Node(config.Node)
	if err != nil {
		return nil, err
	}
	b.network = &simPort{MemoryNode: inner, witness: b.world.witness, on: b.name}
	return b.network, nil
}

// errNobody reports that no machine coordinates, though some should.
var errNobody = errors.New("nobody coordinates")

// join has the coordinator let a machine in.
func (b *box) join(ctx context.Context) error {
	w := b.world
	var err error
	for range 200 { // each is 100 ms
		err = errNobody
		if leader := w.leader(); leader != nil {
			n := leader.running()
			var token trust.Token
			if token, err = n.member.NewToken(ctx, trust.Worker, time.Hour, 1); err == nil {
				reserve, other := w.hub.Node(string(b.id))
				if other != nil {
					return other
				}
				from := reserve.Address()
				reserve.Close()
				config := member.Config{Dir: n.stateDirOf(b.config), Name: b.config.Name, Listen: b.config.Listen, Facts: simFacts}
				if err = member.JoinBeside(ctx, config, n.member, from, token.Text()); err == nil {
					return nil
				}
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

func (n *Node) stateDirOf(config configs.Config) string { return filepath.Join(config.Data, "state") }

// leader is the machine that coordinates as far as most know, nil if there is none.
func (w *world) leader() *box {
	votes := map[shard.NodeID]int{}
	up := w.up()
	for _, b := range up {
		if n := b.running(); n != nil {
			if id, known := n.cluster.Leader(); known {
				votes[id]++
			}
		}
	}
	for _, b := range up {
		if 2*votes[b.id] > len(up) {
			return b
		}
	}
	return nil
}

// crash makes a machine die: from this moment nothing that it does reaches anybody.
func (b *box) crash(ctx context.Context) {
	n := b.running()
	b.world.hurt(b)
	b.world.event("%s dies", b.name)
	_ = b.network.Close()
	over, cancel := context.WithCancel(ctx)
	cancel()
	b.gone(n, over)
}

// stop ends a machine in good order.
func (b *box) stop(ctx context.Context) {
	n := b.running()
	b.world.hurt(b)
	b.world.event("%s stops", b.name)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	b.gone(n, ctx)
}

func (b *box) gone(n *Node, ctx context.Context) {
	w := b.world
	w.mu.Lock()
	b.node = nil
	w.mu.Unlock()
	b.unwatch()
	<-b.watched
	if err := n.Stop(ctx); err != nil {
		w.event("%s: stop: %v", b.name, err)
	}
	w.hurt(b)
	w.event("%s is down", b.name)
}

// wipe loses a machine's disk, the model on it too.
func (b *box) wipe() {
	b.world.event("%s loses its disk", b.name)
	if err := os.RemoveAll(b.config.Data); err != nil {
		b.world.t.Error(err)
	}
	if err := os.MkdirAll(b.config.Data, 0o700); err != nil {
		b.world.t.Error(err)
	}
	b.config.Model = ""
}

// hurt notes that requests may be lost now: those of the machine, and all if it coordinates.
func (w *world) hurt(b *box) {
	all := w.leader() == b || w.leader() == nil
	w.mu.Lock()
	defer w.mu.Unlock()
	if all {
		b = nil
	}
	w.trouble = append(w.trouble, trouble{time.Now(), b})
}

// excused reports whether a request that went in through a machine between two times may have been lost.
func (w *world) excused(b *box, from, to time.Time) bool {
	const aftermath = 12 * time.Second // an election, and a plan
	w.mu.Lock()
	defer w.mu.Unlock()
	elections := w.witness.elections()
	for _, at := range elections {
		if at.After(from.Add(-aftermath)) && at.Before(to.Add(time.Second)) {
			return true
		}
	}
	for _, x := range w.trouble {
		if (x.box == nil || x.box == b) && x.at.After(from.Add(-aftermath)) && x.at.Before(to.Add(time.Second)) {
			return true
		}
	}
	return false
}

// pass lets virtual time pass.
func (w *world) pass(d time.Duration) { time.Sleep(d) }

// within waits in virtual time until something is so, and tells how long it took. When it is not so in time the run fails.
func (w *world) within(most time.Duration, what string, so func() bool) time.Duration {
	w.t.Helper()
	begun := time.Now()
	for !so() {
		if time.Since(begun) > most {
			w.t.Errorf("not within %v: %s", most, what)
			return most
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(begun)
}

// settledOn reports whether some machine serves a plan of exactly these, and all know.
func (w *world) settledOn(boxes []*box) bool {
	leader := w.leader()
	if leader == nil {
		return false
	}
	n := leader.running()
	s := n.serving()
	plan := n.Info().plan
	if s == nil || plan == nil {
		return false
	}
	var want []shard.NodeID
	for _, b := range boxes {
		want = append(want, b.id)
	}
	got := slices.Clone(plan.Nodes())
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		return false
	}
	for _, b := range w.up() {
		state := b.running().cluster.State()
		if state.Plan == nil || state.Plan.Epoch != plan.Epoch {
			return false
		}
	}
	return true
}

// simulate runs a world in a bubble of its own, and fails with what to run to see it again.
func simulate(t *testing.T, seed uint64, story func(ctx context.Context, w *world)) {
	t.Helper()
	sweep := watchdog(t.Name())
	defer sweep()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, seed)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		begun := time.Now()
		story(ctx, w)
		for _, b := range w.up() {
			b.stop(ctx)
		}
		for _, complaint := range w.witness.verdict() {
			t.Error(complaint)
		}
		took := time.Since(begun)
		time.Sleep(2 * time.Minute) // timers of gossip and of connections end
		if t.Failed() {
			t.Logf("seed %d failed after %v of virtual time; again: POLYNODE_SIM_SEEDS=%d go test ./node -run '%s'\n%s",
				seed, took, seed, strings.Split(t.Name(), "/")[0], w.witness.story())
		}
	})
}
