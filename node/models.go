package node

import (
	"errors"
	"fmt"
	"sync"

	"polynode/configs"
	"polynode/model"
	"polynode/model/demo"
	"polynode/model/store"
)

// models are the packed models that this node has open, by digest. It is safe for concurrent use.
type models struct {
	config configs.Config

	mu   sync.Mutex
	open map[string]opened
}

type opened struct {
	model *store.Model
	name  string
}

func newModels(config configs.Config) *models {
	return &models{config: config, open: map[string]opened{}}
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
	return s.keep(m, name)
}

// get is the model of a digest, as it is called here.
func (s *models) get(digest string) (*store.Model, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, there := s.open[digest]; there {
		return o.model, o.name, nil
	}
	if m, err := demo.Open(); err != nil {
		return nil, "", err
	} else if m.Digest().String() == digest {
		return s.keep(m, demo.Name)
	}
	library, err := OpenLibrary(s.config.Data)
	if err != nil {
		return nil, "", err
	}
	defer library.Close()
	m, err := library.Open(digest)
	if errors.Is(err, store.ErrNotFound) {
		return nil, "", fmt.Errorf("%w; it is not on this node, in %s", err, s.config.Data)
	}
	if err != nil {
		return nil, "", err
	}
	return s.keep(m, m.Label())
}

// source is get for a worker.
func (s *models) source(digest string) (model.Source, error) {
	m, _, err := s.get(digest)
	return m, err
}

func (s *models) keep(m *store.Model, name string) (*store.Model, string, error) {
	if s.config.LockWeights {
		if err := m.LockMemory(); err != nil {
			return nil, "", errors.Join(err, m.Close())
		}
	}
	s.open[m.Digest().String()] = opened{m, name}
	return m, name, nil
}

// close closes all. Nothing may use them any more.
func (s *models) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, o := range s.open {
		err = errors.Join(err, o.model.Close())
	}
	return err
}
