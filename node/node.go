package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"polynode/api"
	"polynode/cluster"
	"polynode/configs"
	"polynode/engine"
	"polynode/engine/pipeline"
	"polynode/engine/worker"
	"polynode/kernels"
	"polynode/kernels/pool"
	"polynode/model"
	"polynode/model/store"
	"polynode/shard"
	"polynode/tokenizer"
	"polynode/transport"
	"polynode/web"
)

// blocksReserved is how many blocks the engine keeps for probes.
const blocksReserved = 1

// stepTimeout is how long a rank may wait for another within a step. It bounds a dead neighbour, not the computing:
// a step of 256 tokens on a slow machine takes minutes, and its ranks wait for each other all that time.
const stepTimeout = 10 * time.Minute

// Node is one running node.
type Node struct {
	config configs.Config
	log    *slog.Logger
	info   Info

	model     *store.Model
	tokenizer *tokenizer.SentencePiece
	cluster   *cluster.Cluster
	network   transport.Network
	pool      *pool.Pool
	worker    *worker.Worker
	blocks    int // of keys and values
	pipeline  *pipeline.Pipeline
	engine    *engine.Engine
	api       *api.Server
	http      *http.Server
	inside    *pipeListener
	flights   flights
	endEngine func() // and wait until it has ended

	metrics *prometheus.Registry

	failed chan error
	parts  errgroup.Group // goroutines that run until Stop
	undo   []func(context.Context) error
}

// Start builds a node from valid settings. An HTTP address of "" opens no port; Client reaches the node all the same.
// When it fails nothing is left running.
func Start(ctx context.Context, config configs.Config, log *slog.Logger) (*Node, error) {
	n := &Node{config: config, log: log, metrics: prometheus.NewRegistry(), failed: make(chan error, 1)}
	n.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, step := range []struct {
		name  string
		start func(context.Context) error
	}{
		{"open model", n.openModel},
		{"start threads", n.startPool},
		{"form cluster", n.formCluster},
		{"load ranks", n.loadRanks},
		{"start engine", n.startEngine},
		{"serve", n.serve},
	} {
		if err := step.start(ctx); err != nil {
			stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			return nil, errors.Join(fmt.Errorf("%s: %w", step.name, err), n.Stop(stopping))
		}
	}
	log.Info("node is up", "node", config.Name, "model", n.info.Model, "http", n.info.URL, "epoch", uint64(n.pipeline.Plan().Epoch))
	return n, nil
}

// later remembers how to undo what was just started.
func (n *Node) later(undo func(context.Context) error) { n.undo = append(n.undo, undo) }

// Stop undoes Start in reverse: new requests are refused and running ones get until ctx ends, then HTTP, the engine, the ranks,
// the cluster and the model go. It waits for the step that runs when ctx ends. Calling it again does nothing.
func (n *Node) Stop(ctx context.Context) error {
	n.drain(ctx)
	if n.endEngine != nil {
		n.endEngine() // before HTTP, so that what was not done ends with an error that its client sees
	}
	var errs []error
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

// openModel maps the weights and reads the tokenizer.
func (n *Node) openModel(context.Context) error {
	m, name, err := openModel(n.config)
	if err != nil {
		return err
	}
	n.model = m
	n.later(func(context.Context) error { return m.Close() })
	if n.config.LockWeights {
		if err := m.LockMemory(); err != nil {
			return err
		}
	}
	n.info.Model = name
	n.tokenizer, err = modelTokenizer(m, name)
	return err
}

// formCluster starts a cluster of one: this node agrees with itself, through the same log as with others.
func (n *Node) formCluster(ctx context.Context) error {
	memory, err := availableMemory()
	if err != nil {
		return err
	}
	agreed, err := cluster.Start(ctx, cluster.Config{
		Node: n.id(), Logger: n.log, Facts: cluster.Facts{Cores: n.config.Threads, MemoryBytes: memory},
	})
	if err != nil {
		return err
	}
	n.cluster = agreed
	n.later(func(context.Context) error { return agreed.Close() })
	hub := transport.NewMemory()
	if n.network, err = hub.Node(string(n.id())); err != nil {
		return err
	}
	n.later(func(context.Context) error { return n.network.Close() })
	return nil
}

func (n *Node) id() shard.NodeID { return shard.NodeID(n.config.Name) }

// loadRanks makes the plan of one node the cluster's and takes this node's place in it.
func (n *Node) loadRanks(ctx context.Context) error {
	shape := model.Shape(n.model)
	digest := n.model.Digest().String()
	plan := shard.Solo(n.id(), shape, digest)
	if _, err := n.cluster.Propose(ctx, cluster.PutModel(cluster.Model{Digest: digest, Name: n.info.Model, Shape: shape})); err != nil {
		return err
	}
	var err error
	if plan.Epoch, err = n.cluster.Activate(ctx, plan, nil); err != nil {
		return err
	}
	format, err := kernels.ParseKVFormat(n.config.KVFormat)
	if err != nil {
		return err
	}
	share, err := model.ShareOf(plan, 0, 0)
	if err != nil {
		return err
	}
	if n.blocks, err = n.kvBlocks(share, format); err != nil {
		return err
	}
	n.worker = worker.New(worker.Options{
		Node: n.id(), Generation: n.cluster.State().Generation, Network: n.network, Pool: n.pool, StepTimeout: stepTimeout,
		Open: func(string) (model.Source, error) { return n.model, nil },
	})
	n.pipeline, err = pipeline.New(ctx, engine.Place{Plan: plan, Blocks: n.blocks, KVFormat: n.config.KVFormat}, [][]pipeline.Rank{{n.worker}})
	if err != nil {
		return err
	}
	n.later(func(context.Context) error { return n.pipeline.Close() })
	return nil
}

// kvBlocks decides how many blocks of keys and values this node keeps.
func (n *Node) kvBlocks(share model.Share, format kernels.KVFormat) (int, error) {
	config := n.model.Config()
	available, err := availableMemory()
	if err != nil {
		return 0, err
	}
	perContext := (config.Positions + engine.BlockTokens - 1) / engine.BlockTokens
	budget := kvBudget{
		available:  available,
		weights:    n.model.Size(),
		buffers:    stepBytes(config, n.config.StepTokens),
		blockBytes: int64(model.CacheBlockBytes(config, share, format)),
		blocksMax:  perContext*n.config.Sequences + blocksReserved,
		blocksMin:  perContext + blocksReserved,
		wanted:     n.config.KVMemory,
	}
	blocks, err := budget.blocks()
	if err != nil {
		return 0, err
	}
	n.info.setMemory(n.config, config, int64(blocks)*budget.blockBytes, blocks-blocksReserved)
	return blocks, nil
}

// stepBytes is about what the buffers of one step take.
func stepBytes(config model.Config, tokens int) int64 {
	row := 4 * (8*config.Embed + 3*config.Inner)
	return int64(tokens)*int64(row) + 2*32*4*int64(config.Vocab)
}

// startEngine starts the loop that schedules steps, and passes a first token through the plan.
func (n *Node) startEngine(ctx context.Context) error {
	config := n.model.Config()
	metered, err := api.MeterSteps(n.pipeline, n.metrics)
	if err != nil {
		return err
	}
	n.engine, err = engine.New(engine.Config{
		Blocks: n.blocks, Positions: config.Positions,
		StepTokens: n.config.StepTokens, StepTime: n.config.StepTime, SequencesMax: n.config.Sequences,
		QueueMax: n.config.Queue, QueueTokens: n.config.QueueTokens,
		Epoch: n.pipeline.Plan().Epoch,
	}, metered, n.log)
	if err != nil {
		return err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	n.parts.Go(func() error {
		defer close(ended)
		return n.engine.Run(running)
	})
	n.endEngine = func() {
		cancel()
		<-ended // no step may be under way when the ranks go
	}
	return nil
}

// serve answers HTTP, on a port if the settings name one, and inside the process in any case.
func (n *Node) serve(ctx context.Context) error {
	config := n.model.Config()
	n.info.describe(n.config, n.model)
	eos := config.EOS
	if n.config.EOS >= 0 {
		eos = int32(n.config.EOS)
	}
	server, err := api.New(api.Config{
		Engine: n.engine, Tokenizer: n.tokenizer, APIKeys: n.config.APIKeys,
		Hosts: n.config.Hosts, Origins: n.config.Origins, Logger: n.log, Registry: n.metrics,
		Model: api.Model{
			ID: n.info.Model, Created: time.Now(), Context: config.Positions, StopIDs: []int32{eos},
			Chat: api.ChatFormat(n.model.Chat()), Digest: n.model.Digest().String(), Synthetic: n.model.Synthetic(),
		},
		Limits: api.Limits{First: n.config.FirstToken, Total: n.config.Answer},
		Status: func() any { return n.Status() },
		Page:   web.Handler(),
	})
	if err != nil {
		return err
	}
	n.api = server
	n.http = api.NewHTTPServer(n.config.HTTP, n.flights.watch(server), n.log)
	n.inside = newPipeListener()
	n.later(n.shutHTTP) // before anything is served, so that a port that cannot be had ends the rest
	n.listen(n.inside)
	if n.config.HTTP != "" {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", n.config.HTTP)
		if err != nil {
			return fmt.Errorf("%w; is another node running? --http chooses another address", err)
		}
		n.info.setAddress(listener.Addr())
		n.listen(listener)
	}
	return nil
}

// listen serves one listener until Stop.
func (n *Node) listen(l net.Listener) {
	n.parts.Go(func() error {
		if err := n.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			select {
			case n.failed <- fmt.Errorf("serve http: %w", err):
			default:
			}
		}
		return nil
	})
}
