package node

import (
	"context"
	"errors"

	"polynode/model"
	"polynode/model/demo"
	"polynode/model/store"
	"polynode/shard"
	"polynode/shard/planner"
)

// watched is a model whose rot is noticed by those who can do something about it. What is verified before its first use and found to be other
// bytes than it should be is written off, and fetched again with the next plan, or by the keeper of spares where there is none.
type watched struct {
	*store.Model
	models *models
}

var (
	_ model.Source      = watched{}
	_ model.AheadReader = watched{}
)

// Verify is the model's. See model.Source.
func (w watched) Verify(name model.Name, rows, k shard.Slice) error {
	err := w.Model.Verify(name, rows, k)
	if errors.Is(err, store.ErrCorrupt) {
		w.models.rotted(w.Digest().String(), model.Piece{Name: name, Rows: rows, K: k})
	}
	return err
}

// Vector is the model's. See model.Source.
func (w watched) Vector(name model.Name) ([]float32, error) {
	values, err := w.Model.Vector(name)
	if errors.Is(err, store.ErrCorrupt) {
		manifest := w.Manifest()
		for i := range manifest.Tensors {
			if t := &manifest.Tensors[i]; t.Name == name {
				w.models.rotted(w.Digest().String(), model.Piece{Name: name, Rows: shard.Slice{Hi: t.Rows}, K: shard.Slice{Hi: t.K}})
			}
		}
	}
	return values, err
}

// rotted notes a piece of which something is not what it should be.
func (s *models) rotted(digest string, piece model.Piece) {
	s.mu.Lock()
	s.rotten[digest] = append(s.rotten[digest], piece)
	found := s.found
	s.mu.Unlock()
	if found != nil {
		found()
	}
}

// faulted notes that the open models can be read no more: they are opened anew, and what is in them verified again.
func (s *models) faulted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for digest, o := range s.open {
		if o.name != demo.Name {
			s.stale = append(s.stale, o.model)
			delete(s.open, digest)
		}
	}
}

// heal writes off what rotted of a model, if there is somebody to ask for it. The caller has the turn to fetch.
func (s *models) heal(ctx context.Context, digest string, from sources) error {
	s.mu.Lock()
	pieces, o := s.rotten[digest], s.open[digest]
	s.mu.Unlock()
	if len(pieces) == 0 || o.model == nil || len(from.nodes) == 0 || ctx.Err() != nil {
		return ctx.Err()
	}
	numbers, err := o.model.Rotten(pieces)
	if err != nil {
		return err
	}
	if len(numbers) > 0 {
		library, err := OpenLibrary(s.config.Data)
		if err == nil {
			err = errors.Join(library.Lose(o.model.Digest(), numbers), library.Close())
		}
		if err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.rotten, digest)
	if len(numbers) > 0 { // whoever uses it goes on, and sees what is written into it; others see what it lacks
		s.stale = append(s.stale, o.model)
		delete(s.open, digest)
	}
	return nil
}

// mend fetches what rotted of this node's slices, without waiting for a plan.
func (n *Node) mend(ctx context.Context) error {
	plan := n.cluster.State().Plan
	if plan == nil || !n.models.hasRotten(plan.Model) {
		return nil
	}
	stage, rank, there := plan.Find(n.self)
	if !there {
		return nil
	}
	n.holdings.forget(plan.Model)
	return n.obtain(ctx, plan.Model, planner.HoldingOf(plan, stage, rank), purpose{pace: n.pacer.plans})
}

func (s *models) hasRotten(digest string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.rotten[digest]) > 0
}
