package worker

import (
	"errors"
	"sync"

	"polynode/model"
	"polynode/shard"
	"polynode/transport"
	"polynode/transport/collective"
)

// Progress is what a rank does at the moment, for whoever wonders why a step takes long.
type Progress struct {
	Epoch   shard.Epoch  `json:"epoch"` // of the plan that it follows, or followed last
	Step    uint64       `json:"step"`  // that it computes, or computed last
	Running bool         `json:"running"`
	Done    uint64       `json:"done"`            // pieces of work in this plan; while it moves the rank computes
	Waits   shard.NodeID `json:"waits,omitempty"` // whom it waits for
	Lost    shard.NodeID `json:"lost,omitempty"`  // from whom it heard nothing any more, which ended its last step or its way into the plan
}

// progress is what Progress comes from.
type progress struct {
	mu    sync.Mutex
	now   Progress // without what stage and links know
	stage *model.Stage
	links *collective.Links
}

// place notes a new place in a plan, or that it is gone.
func (p *progress) place(epoch shard.Epoch, stage *model.Stage, links *collective.Links) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if stage == nil {
		p.stage, p.links = nil, nil
		return
	}
	p.now, p.stage, p.links = Progress{Epoch: epoch}, stage, links
}

func (p *progress) begin(step uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.Step, p.now.Running = step, true
}

func (p *progress) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.Running = false
	p.fail(err)
}

// failed notes why a place in the plan of an epoch could not be taken.
func (p *progress) failed(epoch shard.Epoch, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = Progress{Epoch: epoch}
	p.fail(err)
}

func (p *progress) fail(err error) {
	if err == nil {
		return
	}
	var peer *collective.PeerError
	if errors.As(err, &peer) && (errors.Is(peer, transport.ErrSilent) || errors.Is(peer, transport.ErrUnreachable)) {
		p.now.Lost = peer.Node
	}
}

// Progress is what the worker does. It may be called from any goroutine, and waits for nothing.
func (w *Worker) Progress() Progress {
	p := &w.progress
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now
	if p.stage != nil {
		now.Done = p.stage.Done()
	}
	if p.links != nil && now.Running {
		now.Waits = p.links.Waiting()
	}
	return now
}
