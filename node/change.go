package node

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"polynode/cluster"
	"polynode/model"
	"polynode/model/store"
	"polynode/shard"
)

// change is a change of the model that is served, while this node coordinates. The model that is there goes on serving while the next one's
// slices are fetched; then new requests wait at the front, running ones end on the old model, and the next one is taken into use. It belongs to
// the coordinator's goroutine, but for what says that it is shared.
type change struct {
	node    *Node
	service *service // of the next model, without a plan
	fetched chan error
	idle    <-chan struct{} // closed when no request runs any more; nil until the slices are here
	stop    context.CancelFunc
	running sync.WaitGroup
}

// Stages of a change of model, in words of the interface.
const (
	changeFetching = "fetching" // the nodes get their slices; the model before serves
	changeWaiting  = "waiting"  // for running requests to end on the model before; new ones wait
	changeTaking   = "taking"   // the plan is being taken into use
	changeDone     = "done"
	changeFailed   = "failed"
)

// changeWish is a model that somebody wants to be served. Its fields are shared under Node.mu.
type changeWish struct {
	model *store.Model
	name  string
}

// errChanging refuses a second change of model beside one that is under way.
var errChanging = errors.New("another change of the model is under way")

// wish hands a model to the coordinator's goroutine.
func (n *Node) wish(w changeWish) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.changing.Stage != "" && n.changing.Stage != changeDone && n.changing.Stage != changeFailed {
		if n.changing.Digest == w.model.Digest().String() {
			return nil // asked for twice
		}
		return errChanging
	}
	select {
	case n.wishes <- w:
	default:
		return errChanging
	}
	n.changing = ModelChange{Model: w.name, Digest: w.model.Digest().String(), Stage: changeFetching}
	return nil
}

// changes is what the change that is under way waits for, for the coordinator's loop. Of a nil change nothing comes.
func (c *coordinator) changes() (fetched <-chan error, idle <-chan struct{}) {
	if c.change == nil {
		return nil, nil
	}
	return c.change.fetched, c.change.idle
}

// beginChange makes a plan for the next model, and has its nodes get their slices.
func (c *coordinator) beginChange(ctx context.Context, w changeWish) {
	n := c.node
	if c.service == nil || c.change != nil {
		n.changed(changeFailed, errChanging)
		return
	}
	if c.service.model.Digest() == w.model.Digest() {
		n.changed(changeDone, nil)
		return
	}
	ch, plan, err := c.newChange(ctx, w)
	if err != nil {
		n.planned = considered{} // the model that is served is to be planned anew for whoever is here
		n.changed(changeFailed, err)
		return
	}
	c.change = ch
	ctx, ch.stop = context.WithCancel(ctx)
	ch.running.Go(func() {
		here, stop := n.whileHere(ctx, plan)
		defer stop()
		err := n.prepareAll(here, plan)
		if cause := context.Cause(here); err != nil && cause != nil && ctx.Err() == nil {
			err = fmt.Errorf("%w while it fetched its slices; try again", cause)
		}
		ch.fetched <- err
	})
	n.log.Info("the model changes: slices are fetched", "model", w.name, "nodes", len(plan.Nodes()))
}

// newChange checks that there is a plan for the model which fits.
func (c *coordinator) newChange(ctx context.Context, w changeWish) (*change, *shard.Plan, error) {
	n := c.node
	if err := n.enlist(ctx, w.model, w.name); err != nil {
		return nil, nil, err
	}
	s, err := n.newService(w.model, w.name)
	if err != nil {
		return nil, nil, err
	}
	workers := n.workers()
	plan, err := n.planFor(s, workers)
	if err == nil {
		_, err = n.blocksFor(s.model, plan, workers)
	}
	if err != nil {
		return nil, nil, err
	}
	return &change{node: n, service: s, fetched: make(chan error, 1)}, plan, nil
}

// enlist makes a model known to the cluster.
func (n *Node) enlist(ctx context.Context, m *store.Model, name string) error {
	digest := m.Digest().String()
	if _, there := n.cluster.State().Models[digest]; there {
		return nil
	}
	_, err := n.cluster.Propose(ctx, cluster.PutModel(cluster.Model{Digest: digest, Name: name, Shape: model.Shape(m)}))
	return err
}

// haveFetched goes on when the slices are where they have to be: new requests wait from now on.
func (c *coordinator) haveFetched(err error) {
	if err != nil {
		c.endChange(changeFailed, err)
		return
	}
	c.change.fetched = nil
	c.change.idle = c.node.front.hold()
	c.node.changed(changeWaiting, nil)
}

// takeChange puts the next model in the place of the one that is served. If that fails, the one before is taken into use again.
func (c *coordinator) takeChange(ctx context.Context) {
	n, old, next := c.node, c.service, c.change.service
	n.changed(changeTaking, nil)
	old.line.pause()
	c.service, c.serving, c.broken = next, false, false
	err := c.step(ctx)
	if err == nil {
		if failed := old.close(); failed != nil {
			n.log.Warn("end the model before", "err", failed)
		}
		n.log.Info("another model is served", "model", next.name)
		c.endChange(changeDone, nil)
		return
	}
	if failed := next.close(); failed != nil {
		n.log.Warn("end the next model", "err", failed)
	}
	n.planned = considered{}
	c.service, c.serving, c.broken = old, true, true
	c.endChange(changeFailed, err)
}

// endChange lets requests go on, whichever model there is.
func (c *coordinator) endChange(stage string, err error) {
	if c.change == nil {
		return
	}
	c.change.stop()
	c.change.running.Wait()
	c.change = nil
	c.node.changed(stage, err)
	c.node.front.release()
}

// changed notes how far a change is, for those who ask.
func (n *Node) changed(stage string, err error) {
	if err != nil {
		n.log.Warn("the model does not change", "cause", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.changing.Stage, n.changing.Cause = stage, ""
	if err != nil {
		n.changing.Cause = err.Error()
	}
}
