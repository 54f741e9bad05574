package cluster

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"polynode/kernels"
	"polynode/kernels/pool"
)

// Computing must not look like death to other nodes. The tests below keep every core busy with pieces of products, as a step does, while
// three voters with raft's usual timeouts agree in the same process and two sockets of loopback ask each other whether they
// live, and count elections, late commits and missed answers.
//
// Tried by hand with parts that stay four seconds in assembly: without processors to spare for Go every commit is late and six times a
// voter stands for election; with two to spare all is well, even with parts of 17 seconds, until the garbage collector has to
// stop everybody, and then four stand. So parts are short and processors are spare.
const (
	raftTimeout = time.Second            // the usual one between machines
	beatEvery   = 100 * time.Millisecond // of the sockets
	beatTimeout = time.Second            // after which the other one counts as dead
)

// product is a task like those of a step: each part multiplies some panels.
type product struct {
	matrix kernels.Matrix
	x      kernels.Activations
	out    []int32
}

const productPanels = 8 // of a part, 150 KB: tens of microseconds

func newProduct(t *testing.T) *product {
	t.Helper()
	const rows, k = 4096, 2048
	packed := make([]byte, kernels.PackedBytes(kernels.Q4, rows, k))
	for i := range packed {
		packed[i] = 0x2a // scales of 0.048
	}
	m, err := kernels.NewMatrix(kernels.Q4, rows, k, 128, 16, packed)
	if err != nil {
		t.Fatal(err)
	}
	p := &product{matrix: m, out: make([]int32, rows)}
	p.x.Reset(1, k, m.Leaf)
	for i := range p.x.Row(0) {
		p.x.Row(0)[i] = float32(i%13) - 6
	}
	p.x.Quantise(0, 1)
	return p
}

func (p *product) parts() int { return kernels.Panels(p.matrix.Rows) / productPanels }

func (p *product) Do(part int) {
	kernels.MulPanels(p.out, p.matrix.Rows, &p.matrix, &p.x, part*productPanels, (part+1)*productPanels)
}

// voters are raft nodes that talk to each other in memory.
type voters struct {
	rafts      []*raft.Raft
	transports []*raft.InmemTransport
	observed   []chan raft.Observation
	candidates atomic.Int64 // times that a voter stood for election
	observing  sync.WaitGroup
}

type nothing struct{}

func (nothing) Apply(*raft.Log) any                  { return nil }
func (nothing) Snapshot() (raft.FSMSnapshot, error)  { return nothing{}, nil }
func (nothing) Restore(from io.ReadCloser) error     { return from.Close() }
func (nothing) Persist(sink raft.SnapshotSink) error { return sink.Close() }
func (nothing) Release()                             {}

func startVoters(t *testing.T, timeout time.Duration) *voters {
	t.Helper()
	const count = 3
	v := &voters{}
	var servers []raft.Server
	for i := range count {
		address, transport := raft.NewInmemTransport(raft.ServerAddress(fmt.Sprint("v", i)))
		v.transports = append(v.transports, transport)
		servers = append(servers, raft.Server{ID: raft.ServerID(address), Address: address})
	}
	for i, from := range v.transports {
		for j, to := range v.transports {
			if i != j {
				from.Connect(servers[j].Address, to)
			}
		}
	}
	for i, transport := range v.transports {
		config := raft.DefaultConfig()
		config.LocalID, config.Logger = servers[i].ID, hclog.NewNullLogger()
		config.HeartbeatTimeout, config.ElectionTimeout, config.LeaderLeaseTimeout = timeout, timeout, timeout/2
		store := raft.NewInmemStore()
		snapshots := raft.NewInmemSnapshotStore()
		if err := raft.BootstrapCluster(config, store, store, snapshots, transport, raft.Configuration{Servers: servers}); err != nil {
			t.Fatal(err)
		}
		r, err := raft.NewRaft(config, nothing{}, store, store, snapshots, transport)
		if err != nil {
			t.Fatal(err)
		}
		v.rafts = append(v.rafts, r)
		v.observe(r)
	}
	t.Cleanup(func() {
		for i, r := range v.rafts {
			if err := r.Shutdown().Error(); err != nil {
				t.Error(err)
			}
			close(v.observed[i])
		}
		v.observing.Wait()
	})
	return v
}

// observe counts when a voter stands for election.
func (v *voters) observe(r *raft.Raft) {
	seen := make(chan raft.Observation, 16)
	v.observed = append(v.observed, seen)
	r.RegisterObserver(raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		state, ok := o.Data.(raft.RaftState)
		return ok && state == raft.Candidate
	}))
	v.observing.Go(func() {
		for range seen {
			v.candidates.Add(1)
		}
	})
}

// leader waits until one voter leads and has committed a command.
func (v *voters) leader(t *testing.T) int {
	t.Helper()
	for t.Context().Err() == nil {
		for i, r := range v.rafts {
			select {
			case <-r.LeaderCh():
			default:
			}
			if r.State() == raft.Leader && r.Apply(nil, raftTimeout).Error() == nil {
				return i
			}
		}
		runtime.Gosched()
	}
	t.Fatal("nobody leads")
	return 0
}

// beats sends a datagram every beatEvery and counts the answers that take longer than beatTimeout, until stop closes.
func beats(t *testing.T, stop <-chan struct{}) (missed *atomic.Int64, wait func()) {
	t.Helper()
	var ends [2]net.PacketConn
	for i := range ends {
		end, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = end
	}
	missed = new(atomic.Int64)
	var both sync.WaitGroup
	both.Go(func() { // answers
		datagram := make([]byte, 8)
		for {
			n, from, err := ends[1].ReadFrom(datagram)
			if err != nil {
				return
			}
			if _, err := ends[1].WriteTo(datagram[:n], from); err != nil {
				return
			}
		}
	})
	both.Go(func() { // asks
		defer ends[1].Close()
		defer ends[0].Close()
		ticker := time.NewTicker(beatEvery)
		defer ticker.Stop()
		datagram := make([]byte, 8)
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
			if _, err := ends[0].WriteTo(datagram, ends[1].LocalAddr()); err != nil {
				missed.Add(1)
				continue
			}
			ends[0].SetReadDeadline(time.Now().Add(beatTimeout))
			if _, _, err := ends[0].ReadFrom(datagram); err != nil {
				missed.Add(1)
			}
		}
	})
	return missed, both.Wait
}

func TestComputingStarvesNobody(t *testing.T) {
	busy := time.Minute
	if testing.Short() {
		busy = 3 * time.Second
	}
	workers := runtime.NumCPU()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(workers + 2)) // as a node does
	threads := pool.New(workers)
	defer threads.Close()
	task := newProduct(t)
	v := startVoters(t, raftTimeout)
	leader := v.rafts[v.leader(t)]
	term, stood := leader.CurrentTerm(), v.candidates.Load()

	stop := make(chan struct{})
	missed, answered := beats(t, stop)
	var late, commits atomic.Int64
	var committing sync.WaitGroup
	committing.Go(func() {
		ticker := time.NewTicker(beatEvery)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
			begun := time.Now()
			if err := leader.Apply([]byte("x"), raftTimeout).Error(); err != nil || time.Since(begun) > raftTimeout {
				late.Add(1)
			}
			commits.Add(1)
		}
	})
	sections := 0
	for begun := time.Now(); time.Since(begun) < busy; sections++ {
		threads.Run(task.parts(), task)
	}
	close(stop)
	committing.Wait()
	answered()
	t.Logf("%d sections of %d parts on %d workers in %v, %d commits", sections, task.parts(), workers, busy, commits.Load())
	// A voter that only asked whether others miss the leader too, and was told no, is no election: the term stays.
	t.Logf("%d voters asked for an election", v.candidates.Load()-stood)
	if leader.State() != raft.Leader || leader.CurrentTerm() != term {
		t.Errorf("elections: the term went from %d to %d", term, leader.CurrentTerm())
	}
	if late.Load() != 0 || missed.Load() != 0 {
		t.Errorf("%d of %d commits were late, %d answers missed", late.Load(), commits.Load(), missed.Load())
	}
	if commits.Load() == 0 {
		t.Error("nothing was committed meanwhile")
	}
}

// A leader that nobody hears is followed by an election, which the test above would have counted.
func TestSilenceIsCounted(t *testing.T) {
	v := startVoters(t, raftTimeout/10)
	leader := v.leader(t)
	stood := v.candidates.Load()
	v.transports[leader].DisconnectAll()
	for i, transport := range v.transports {
		if i != leader {
			transport.Disconnect(v.transports[leader].LocalAddr())
		}
	}
	for v.candidates.Load() == stood {
		if t.Context().Err() != nil {
			t.Fatal("nobody stood for election")
		}
		runtime.Gosched()
	}
}
