package node

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"polynode/api"
	"polynode/engine"
	"polynode/model/store"
	"polynode/shard"
	"polynode/tokenizer"
	"polynode/web"
)

// service is what a coordinator runs: the engine over the active plan, and the API in front of it.
type service struct {
	node      *Node
	model     *store.Model
	name      string // of the model
	tokenizer *tokenizer.SentencePiece
	metrics   *prometheus.Registry
	line      *line
	watch     *stopwatch
	plan      *shard.Plan // the active one; of the coordinator's goroutine
	blocks    int         // of keys and values
	engine    *engine.Engine
	api       *api.Server
	endEngine func() // and wait until it has ended
}

// newService makes a service without a plan.
func (n *Node) newService(m *store.Model, name string) (*service, error) {
	tok, err := modelTokenizer(m, name)
	if err != nil {
		return nil, err
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), clusterCollector{n})
	line := newLine(n.self, n.inquire)
	return &service{node: n, model: m, name: name, tokenizer: tok, metrics: metrics, line: line, watch: &stopwatch{next: line, usage: n.rank.Usage}, endEngine: func() {}}, nil
}

// open starts the engine under the first plan, and the API.
func (s *service) open(ctx context.Context, epoch shard.Epoch) error {
	n, config := s.node, s.model.Config()
	metered, err := api.MeterSteps(s.watch, s.metrics)
	if err != nil {
		return err
	}
	s.engine, err = engine.New(engine.Config{
		Blocks: s.blocks, Positions: config.Positions,
		StepTokens: n.config.StepTokens, StepTime: n.config.StepTime, SequencesMax: n.config.Sequences,
		QueueMax: n.config.Queue, QueueTokens: n.config.QueueTokens,
		Epoch: epoch,
	}, metered, n.log)
	if err != nil {
		return err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- s.engine.Run(running) }()
	s.endEngine = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil { // no step may be under way when the ranks go
			n.log.Error("run engine", "err", err)
		}
	})
	eos := config.EOS
	if n.config.EOS >= 0 {
		eos = int32(n.config.EOS)
	}
	s.api, err = api.New(api.Config{
		Engine: s.engine, Tokenizer: s.tokenizer, APIKeys: n.config.APIKeys,
		Hosts: n.config.Hosts, Origins: n.config.Origins, Logger: n.log, Registry: s.metrics,
		Model: api.Model{
			ID: s.name, Created: time.Now(), Context: config.Positions, StopIDs: []int32{eos},
			Chat: api.ChatFormat(s.model.Chat()), Digest: s.model.Digest().String(), Synthetic: s.model.Synthetic(),
		},
		Limits: api.Limits{First: n.config.FirstToken, Total: n.config.Answer},
		Status: func() any { return n.Status() },
		Page:   web.Handler(),
	})
	return err
}

// close ends the engine, what was not done with an error, and then the ranks.
func (s *service) close() error {
	s.endEngine()
	return s.line.close()
}
