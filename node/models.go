package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"polynode/configs"
	"polynode/model"
	"polynode/model/demo"
	"polynode/model/fetch"
	"polynode/model/store"
	"polynode/transport"
)

// models are the packed models that this node has open, by digest, and the way to more. It is safe for concurrent use.
type models struct {
	config configs.Config

	fetching turn // held by the one fetch that runs

	mu     sync.Mutex
	open   map[string]opened
	stale  []*store.Model           // opened again since with more in them; ranks may still use their views
	plans  progress                 // of the fetch for a plan that runs, or ran last
	spare  progress                 // of that of spares
	rotten map[string][]model.Piece // by digest: what did not match its hashes
	found  func()                   // told of that; may be nil
	yield  context.CancelFunc       // ends the fetch that runs, if it is one of spares
}

type opened struct {
	model *store.Model
	name  string
}

// progress is how far a fetch is.
type progress struct {
	done, total int64
	running     bool
	first       int64     // done when it began
	begun       time.Time // its first word
}

// rate is how many bytes came each second.
func (p progress) rate(now time.Time) float64 {
	took := now.Sub(p.begun).Seconds()
	if !p.running || took <= 0 {
		return 0
	}
	return float64(p.done-p.first) / took
}

// purpose is what a fetch is for.
type purpose struct {
	pace  *fetch.Pace
	spare bool // nobody waits for it: a fetch for a plan takes its place
}

func newModels(config configs.Config) *models {
	return &models{config: config, fetching: newTurn(), open: map[string]opened{}, rotten: map[string][]model.Piece{}}
}

// wanted is the model that the settings name.
func (s *models) wanted() (*store.Model, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.open {
		if o.name == s.config.Model || s.config.Model == "" && o.name == demo.Name {
			return o.model, o.name, nil
		}
	}
	m, name, err := openModel(s.config)
	if err != nil {
		return nil, "", err
	}
	return m, name, s.keep(m, name)
}

// source is the model of a digest for a worker: what was got for it before.
func (s *models) source(digest string) (model.Source, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, there := s.open[digest]
	if !there {
		return nil, fmt.Errorf("open model %.12s: %w: nothing of it was fetched", digest, store.ErrNotFound)
	}
	return watched{o.model, s}, nil
}

// get opens the model of a digest with what is needed of it: from this node's folder, the binary, or other nodes.
func (s *models) get(ctx context.Context, digest string, need func(model.Config) ([]model.Piece, error), from sources, why purpose) (*store.Model, error) {
	ctx, end, err := s.turn(ctx, why)
	if err != nil {
		return nil, err
	}
	defer end()
	if err := s.heal(ctx, digest, from); err != nil {
		return nil, err
	}
	if m, err := s.here(digest, need); m != nil || err != nil {
		return m, err
	}
	library, err := OpenLibrary(s.config.Data)
	if err != nil {
		return nil, err
	}
	defer library.Close()
	m, err := fetch.Get(ctx, from.network, library.Dir, digest, need, from.nodes, fetch.Options{
		Pace:     why.pace,
		Progress: func(done, total int64) { s.progressed(done, total, why.spare) },
		Dropped:  from.dropped,
	})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if why.spare && !s.config.LockWeights {
		return nil, m.Close() // one that is open sees what came
	}
	return m, s.keep(m, m.Label())
}

// turn waits until no other fetch runs. One for a plan ends one of spares, which goes on later from where it was.
func (s *models) turn(ctx context.Context, why purpose) (fetching context.Context, end func(), err error) {
	if !why.spare {
		s.mu.Lock()
		if s.yield != nil {
			s.yield()
		}
		s.mu.Unlock()
	}
	select {
	case s.fetching <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	fetching, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if why.spare {
		s.yield = cancel
	}
	return fetching, func() {
		cancel()
		s.mu.Lock()
		s.yield, s.plans.running, s.spare.running = nil, false, false
		s.mu.Unlock()
		s.fetching.Unlock()
	}, nil
}

// progressed notes how far the fetch is that runs.
func (s *models) progressed(done, total int64, spare bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &s.plans
	if spare {
		p = &s.spare
	}
	if !p.running {
		*p = progress{running: true, first: done, begun: time.Now()}
	}
	p.done, p.total = done, total
}

// sources are the nodes that may have parts of a model.
type sources struct {
	network transport.Network
	nodes   []string
	dropped func(node string, err error)
}

// here is the model if everything that is needed of it is open or in the binary.
func (s *models) here(digest string, need func(model.Config) ([]model.Piece, error)) (*store.Model, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, there := s.open[digest]; there {
		pieces, err := need(o.model.Config())
		if err != nil {
			return nil, err
		}
		if missing, err := o.model.Missing(pieces); err != nil || missing == 0 {
			return o.model, err
		}
		return nil, nil
	}
	m, err := demo.Open()
	if err != nil || m.Digest().String() != digest {
		return nil, err
	}
	return m, s.keep(m, demo.Name)
}

// keep remembers an open model. One of the same digest stays open: ranks may use it.
func (s *models) keep(m *store.Model, name string) error {
	if s.config.LockWeights {
		if err := m.LockMemory(); err != nil {
			return errors.Join(err, m.Close())
		}
	}
	digest := m.Digest().String()
	if old, there := s.open[digest]; there {
		s.stale = append(s.stale, old.model)
		name = old.name
	}
	s.open[digest] = opened{m, name}
	return nil
}

// fetched is how far the fetch for a plan is that runs, or ran last, and that of spares.
func (s *models) fetched() (plans, spares progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.plans, s.spare
}

// close closes all. Nothing may use them any more.
func (s *models) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for o := range maps.Values(s.open) {
		err = errors.Join(err, o.model.Close())
	}
	for _, m := range s.stale {
		err = errors.Join(err, m.Close())
	}
	return err
}
