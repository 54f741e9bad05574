package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// governPause is how long a coordinator waits at most before it looks at everything again. Changes wake it sooner; it does not rely on them.
const governPause = time.Second

// lead does the coordinator's duties whenever this node becomes it, until ctx ends. The first outcome that is not a lost
// election goes to established.
func (c *Cluster) lead(ctx context.Context, config Config, notify <-chan bool, established chan<- error) {
	for {
		select {
		case leads := <-notify:
			c.logger.Info("leadership changed", "node", c.node, "leads", leads)
			for leads { // until this node loses it, or loses it and has it again
				leads = c.reign(ctx, config, notify, established)
			}
		case <-ctx.Done():
			return
		}
	}
}

// reign governs until leadership changes, and tells whether this node leads then.
func (c *Cluster) reign(ctx context.Context, config Config, notify <-chan bool, established chan<- error) (leads bool) {
	ctx, end := context.WithCancel(ctx)
	var governing sync.WaitGroup
	governing.Go(func() { c.govern(ctx, config, established) })
	defer governing.Wait()
	defer end()
	select {
	case leads = <-notify:
		c.logger.Info("leadership changed", "node", c.node, "leads", leads)
		return leads
	case <-ctx.Done():
		return false
	}
}

// govern brings a new coordinator up to date and keeps raft's servers what the agreed nodes say they should be, until ctx ends.
func (c *Cluster) govern(ctx context.Context, config Config, established chan<- error) {
	err := c.establish(ctx, config)
	if errors.Is(err, ErrNotLeader) {
		return // somebody else will
	}
	if err != nil && ctx.Err() == nil {
		c.logger.Error("establish leadership", "node", c.node, "err", err)
	}
	select {
	case established <- err:
	default: // nobody waits any more
	}
	if config.Lead != nil && err == nil {
		var duties sync.WaitGroup
		duties.Go(func() { config.Lead(ctx) })
		defer duties.Wait()
	}
	ticker := time.NewTicker(governPause)
	defer ticker.Stop()
	for {
		changed, seen := c.Changed(), c.members.Changed()
		if err := c.reconcile(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, ErrNotLeader) {
			c.logger.Warn("reconcile servers", "node", c.node, "err", err)
		}
		select {
		case <-ticker.C:
		case <-changed:
		case <-seen:
		case <-ctx.Done():
			return
		}
	}
}

// establish brings a new coordinator up to date, founds the cluster if nobody has, and enters this node.
func (c *Cluster) establish(ctx context.Context, config Config) error {
	if _, err := c.call(ctx, func() raft.Future { return c.raft.Barrier(enqueueTimeout) }); err != nil {
		return fmt.Errorf("wait for the log: %w", err)
	}
	if c.State().ID == "" {
		if _, err := c.Propose(ctx, Found(config.ID)); err != nil {
			return err
		}
	}
	self, there := c.State().Nodes[c.node]
	if !there {
		self = Node{ID: c.node, Phase: Ready}
	} else if self.Facts == config.Facts && self.Name == config.Name && self.Address == config.Address {
		return nil
	}
	self.Facts, self.Name, self.Address = config.Facts, config.Name, config.Address
	_, err := c.Propose(ctx, PutNode(self))
	return err
}
