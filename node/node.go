package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"polynode/api"
	"polynode/cluster"
	"polynode/cluster/member"
	"polynode/configs"
	"polynode/engine/worker"
	"polynode/kernels/pool"
	"polynode/shard"
	"polynode/shard/planner"
	"polynode/transport"
	"polynode/transport/linkprobe"
)

// blocksReserved is how many blocks the engine keeps for probes.
const blocksReserved = 1

// stepTimeout is how long a rank may wait for another within a step. It bounds a mistake, not the computing and not a dead neighbour,
// which the network notices: a step of 256 tokens on a slow machine takes minutes, and its ranks wait for each other all that time.
const stepTimeout = 10 * time.Minute

// Node is one running node.
type Node struct {
	config  configs.Config
	log     *slog.Logger
	self    shard.NodeID
	founded bool // this node made the cluster when it started

	models *models
	pool   *pool.Pool
	// processors is how many Go gets while this node works alone.
	processors int
	member     *member.Member // nil for a node that nobody can join
	cluster    *cluster.Cluster
	network    transport.Network
	worker     *worker.Server
	rank       *worker.Worker
	calls      *http.Client // to other nodes
	front      *front
	http       *http.Server
	inside     *pipeListener
	flights    flights

	started   time.Time
	facts     facts
	available func() (int64, error) // bytes that a model may use
	known     *known                // while this node coordinates: what others said
	holdings  *holdings
	pacer     *pacer
	load      atomic.Int32 // a load: what the rank is busy with
	keeper    *keeper
	prober    *linkprobe.Prober // nil for a node that nobody can join
	plan      plannerFunc
	with      parts
	planned   considered // what the last plan was made from; of the coordinator's goroutine

	assembled func() // lets the coordinator's duties begin
	first     sync.Once
	ready     chan error // how this node's first attempt to serve ended

	mu      sync.Mutex
	info    Info
	trouble string         // why there is no plan that suits the nodes that are here; empty if there is
	report  planner.Report // that the last plan came from

	waiting string // why a change of the cluster's root does not go on; under mu

	changing ModelChange     // the last change of model; under mu
	wishes   chan changeWish // has room for one

	once sync.Once
	left chan struct{} // closed when this node has left its cluster

	failed chan error
	parts  errgroup.Group // goroutines that run until Stop
	undo   []func(context.Context) error
}

// plannerFunc is planner.Plan, or what a test puts in its place.
type plannerFunc func(planner.Problem) (planner.Report, error)

// Start builds a node from valid settings. An HTTP address of "" opens no port; Client reaches the node all the same. Without an
// address to listen on for other nodes it is a cluster of its own for ever. When Start fails nothing is left running.
func Start(ctx context.Context, config configs.Config, log *slog.Logger) (*Node, error) {
	return startWith(ctx, config, log, newModels(config), planner.Plan)
}

// startWith is Start with parts that tests replace.
func startWith(ctx context.Context, config configs.Config, log *slog.Logger, models *models, plan plannerFunc) (*Node, error) {
	return startFrom(ctx, config, log, parts{models: models, plan: plan})
}

// parts are what simulations put in the place of what the machine has.
type parts struct {
	models *models
	plan   plannerFunc
	open   func(context.Context, transport.QUICConfig) (member.Port, error) // the way to other nodes; nil is QUIC
	facts  *cluster.Facts                                                   // nil measures them
}

func startFrom(ctx context.Context, config configs.Config, log *slog.Logger, with parts) (*Node, error) {
	n := &Node{
		config: config, log: log, failed: make(chan error, 1), ready: make(chan error, 1), left: make(chan struct{}),
		models: with.models, plan: with.plan, with: with, wishes: make(chan changeWish, 1),
		started: time.Now(), known: newKnown(), holdings: newHoldings(config.Data), pacer: newPacer(),
	}
	n.keeper = newKeeper(n)
	for _, step := range []struct {
		name  string
		start func(context.Context) error
	}{
		{"open model", n.openModels},
		{"start threads", n.startPool},
		{"form cluster", n.formCluster},
		{"lend rank", n.lendRank},
		{"serve", n.serve},
		{"take part", n.takePart},
	} {
		if err := step.start(ctx); err != nil {
			stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			return nil, errors.Join(fmt.Errorf("%s: %w", step.name, err), n.Stop(stopping))
		}
	}
	info := n.Info()
	log.Info("node is up", "node", config.Name, "model", info.Model, "http", info.URL)
	return n, nil
}

// later remembers how to undo what was just started.
func (n *Node) later(undo func(context.Context) error) { n.undo = append(n.undo, undo) }

// Stop undoes Start in reverse: new requests are refused and running ones get until ctx ends, then the engine, HTTP, the ranks,
// the cluster and the models go. It waits for the step that runs when ctx ends. Calling it again does nothing.
func (n *Node) Stop(ctx context.Context) error {
	if n.front != nil {
		n.front.close()
	}
	n.drain(ctx)
	if s := n.serving(); s != nil {
		s.endEngine() // before HTTP, so that what was not done ends with an error that its client sees
	}
	var errs []error
	if n.member != nil && len(n.undo) > 0 {
		if err := n.member.StepAside(ctx); err != nil {
			n.log.Info("left without handing over", "cause", err)
		}
	}
	for i := len(n.undo) - 1; i >= 0; i-- {
		errs = append(errs, n.undo[i](ctx))
	}
	n.undo = nil
	errs = append(errs, n.parts.Wait())
	return errors.Join(errs...)
}

// Failed gives the error that ended a part of the node that should have gone on.
func (n *Node) Failed() <-chan error { return n.failed }

// Client is an HTTP client that reaches this node from inside the process. Any host in a URL means this node; localhost
// is the natural one.
func (n *Node) Client() *http.Client { return n.inside.client() }

// serving is what this node runs while it coordinates, nil otherwise.
func (n *Node) serving() *service {
	if n.front == nil {
		return nil
	}
	return n.front.serving()
}

// openModels opens the model that the settings name where this node is the first to want one, so that a mistake is known at once.
func (n *Node) openModels(context.Context) error {
	n.later(func(context.Context) error { return n.models.close() })
	if n.config.Listen != "" && n.config.Model == "" && member.Exists(n.stateDir()) {
		return nil // the cluster says what is served
	}
	_, name, err := n.models.wanted()
	n.info.Model = name
	return err
}

// stateDir is where this node keeps who it is.
func (n *Node) stateDir() string { return stateDir(n.config) }

// formCluster makes this node part of a cluster: the one that its folder remembers, or a new one. Without an address for other nodes it
// agrees with itself, through the same log as with others.
func (n *Node) formCluster(ctx context.Context) error {
	assembled := make(chan struct{})
	n.assembled = func() { close(assembled) }
	lead := func(ctx context.Context) {
		select {
		case <-assembled:
			n.coordinate(ctx)
		case <-ctx.Done():
		}
	}
	if err := n.measure(); err != nil {
		return err
	}
	if n.config.Listen == "" {
		return n.formLone(ctx, lead)
	}
	n.later(n.forgetSelf)
	n.founded = !member.Exists(n.stateDir())
	m, err := member.Open(ctx, member.Config{
		Dir: n.stateDir(), Name: n.config.Name, Listen: n.config.Listen, Facts: n.facts.now(), Logger: n.log, Lead: lead,
		Open: n.with.open,
	})
	if err != nil {
		return err
	}
	n.member, n.cluster, n.network, n.self = m, m.Cluster(), m.Network(), m.ID()
	n.later(func(context.Context) error { return m.Close() })
	return nil
}

// formLone makes a cluster of one that nobody can join.
func (n *Node) formLone(ctx context.Context, lead func(context.Context)) error {
	n.self, n.founded = shard.NodeID(n.config.Name), true
	agreed, err := cluster.Start(ctx, cluster.Config{Node: n.self, Facts: n.facts.now(), Logger: n.log, Lead: lead})
	if err != nil {
		return err
	}
	n.cluster = agreed
	n.later(func(context.Context) error { return agreed.Close() })
	hub := transport.NewMemory()
	if n.network, err = hub.Node(string(n.self)); err != nil {
		return err
	}
	n.later(func(context.Context) error { return n.network.Close() })
	return nil
}

// lendRank makes the worker of this node, and lends it to whoever coordinates.
func (n *Node) lendRank(ctx context.Context) error {
	n.rank = worker.New(worker.Options{
		Node: n.self, Open: n.models.source, Network: n.network, Pool: n.pool, StepTimeout: stepTimeout, Fault: n.models.faulted,
		Arrange: n.arrange,
	})
	n.worker = worker.NewServer(n.rank)
	lending, stop := context.WithCancel(context.WithoutCancel(ctx))
	var lent sync.WaitGroup
	lent.Go(func() {
		for {
			conn, err := n.network.Accept(lending, transport.ClassControl)
			if err != nil {
				return
			}
			lent.Go(func() {
				if err := n.worker.Serve(lending, conn); err != nil && lending.Err() == nil {
					n.log.Info("the rank is free again", "coordinator", conn.Peer(), "cause", err)
				}
			})
		}
	})
	n.later(func(context.Context) error {
		stop()
		lent.Wait()
		return nil
	})
	return nil
}

// serve answers HTTP: inside the process, on a port if the settings name one, and to other nodes.
func (n *Node) serve(ctx context.Context) error {
	n.front = newFront(n.log, n.cluster.Leader, n.self, n.troubled)
	n.http = api.NewHTTPServer(n.config.HTTP, n.flights.watch(n.withControl(n.front)), n.log)
	n.inside = newPipeListener()
	n.later(n.shutHTTP) // before anything is served, so that a port that cannot be had ends the rest
	n.listen(n.http, n.inside)
	if n.member != nil {
		n.answerNodes(ctx)
		if err := n.giveWeights(ctx); err != nil {
			return err
		}
	}
	if n.config.HTTP != "" {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", n.config.HTTP)
		if err != nil {
			return fmt.Errorf("%w; is another node running? --http chooses another address", err)
		}
		n.info.setAddress(listener.Addr())
		n.listen(n.http, listener)
	}
	return nil
}

// answerNodes serves what nodes ask each other, and forwards what clients ask this one while another node coordinates.
func (n *Node) answerNodes(ctx context.Context) {
	n.calls = newCalls(n.network)
	n.front.forward = newForward(n.calls, n.log)
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+preparePath, n.servePrepare)
	mux.HandleFunc("POST "+reportPath, n.serveReport)
	mux.HandleFunc("POST "+keepPath, n.serveKeep)
	mux.HandleFunc("GET "+progressPath, n.serveProgress)
	mux.HandleFunc("POST "+rootPath, n.serveRoot)
	mux.HandleFunc("POST "+rootOfPath, n.serveRootOf)
	mux.HandleFunc("POST "+papersPath, n.servePapers)
	mux.HandleFunc("POST "+renewPath, n.serveRenew)
	mux.HandleFunc("POST "+heldPath, n.serveHeld)
	mux.Handle("/", n.flights.watch(n.withControl(n.front.near())))
	mux.HandleFunc("POST "+forgetPath, n.serveForget)
	server := api.NewHTTPServer("", mux, n.log)
	n.later(func(ctx context.Context) error {
		n.calls.CloseIdleConnections()
		return server.Close()
	})
	n.listen(server, newCallListener(ctx, n.network))
	n.upkeep(ctx)
}

// listen serves one listener until Stop.
func (n *Node) listen(server *http.Server, l net.Listener) {
	n.parts.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, transport.ErrClosed) {
			select {
			case n.failed <- fmt.Errorf("serve http: %w", err):
			default:
			}
		}
		return nil
	})
}

// takePart lets the coordinator's duties begin, and waits until this node serves: through itself, or through another that coordinates. That
// one may have no plan for want of more machines; then there is nothing to wait for.
func (n *Node) takePart(ctx context.Context) error {
	n.assembled()
	unplanned := time.NewTimer(planGrace)
	defer unplanned.Stop()
	patient := true
	for {
		changed := n.cluster.Changed()
		if leader, known := n.cluster.Leader(); known && leader != n.self && (n.cluster.State().Plan != nil || !patient) {
			return nil
		}
		select {
		case err := <-n.ready:
			return err
		case <-changed:
		case <-unplanned.C:
			patient = false
		case <-time.After(lookPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Times of a node that starts.
const (
	lookPause = 50 * time.Millisecond // between two looks for a coordinator
	planGrace = 10 * time.Second      // for a coordinator to have a plan
)

// established tells whoever starts this node how its first attempt to serve ended.
func (n *Node) established(err error) {
	n.first.Do(func() { n.ready <- err })
}
