package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

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

	mu    sync.Mutex
	open  map[string]opened
	stale []*store.Model // opened again since with more in them; ranks may still use their views
	bytes progress
}

type opened struct {
	model *store.Model
	name  string
}

// progress is how far a fetch is.
type progress struct{ done, total int64 }

func newModels(config configs.Config) *models {
	return &models{config: config, fetching: newTurn(), open: map[string]opened{}}
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
	return o.model, nil
}

// get opens the model of a digest with what is needed of it: from this node's folder, the binary, or other nodes.
func (s *models) get(ctx context.Context, digest string, need func(model.Config) ([]model.Piece, error), from sources) (*store.Model, error) {
	s.fetching.Lock()
	defer s.fetching.Unlock()
	if m, err := s.here(digest, need); m != nil || err != nil {
		return m, err
	}
	library, err := OpenLibrary(s.config.Data)
	if err != nil {
		return nil, err
	}
	defer library.Close()
	m, err := fetch.Get(ctx, from.network, library.Dir, digest, need, from.nodes, fetch.Options{
		Progress: func(done, total int64) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.bytes = progress{done, total}
		},
		Dropped: from.dropped,
	})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return m, s.keep(m, m.Label())
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

// fetched is how far the fetch that runs, or ran last, is.
func (s *models) fetched() progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes
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
