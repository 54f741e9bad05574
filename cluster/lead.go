package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// lead does the coordinator's duties whenever this node becomes it, until ctx ends. The first outcome that is not a lost
// election goes to established.
func (c *Cluster) lead(ctx context.Context, config Config, notify <-chan bool, established chan<- error) {
	for {
		select {
		case leads := <-notify:
			c.logger.Info("leadership changed", "node", c.node, "leads", leads)
			if !leads {
				continue
			}
			err := c.establish(ctx, config)
			if errors.Is(err, ErrNotLeader) {
				continue // somebody else will
			}
			if err != nil && ctx.Err() == nil {
				c.logger.Error("establish leadership", "node", c.node, "err", err)
			}
			select {
			case established <- err:
			default: // nobody waits any more
			}
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
	} else if self.Facts == config.Facts {
		return nil
	}
	self.Facts = config.Facts
	_, err := c.Propose(ctx, PutNode(self))
	return err
}
