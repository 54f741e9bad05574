package cluster

import (
	"context"
	"errors"
	"slices"

	"github.com/hashicorp/raft"

	"polynode/shard"
)

// reconcile takes raft's servers one step towards what the agreed nodes and the living ones say, and lets nodes in that have come. It looks at
// everything as it is now; what it could not do, it does the next time.
func (c *Cluster) reconcile(ctx context.Context) error {
	servers, err := c.servers()
	if err != nil {
		return err
	}
	return errors.Join(c.admitNodes(ctx), c.setServers(ctx, servers), c.setVoters(ctx, servers))
}

// servers is raft's own list.
func (c *Cluster) servers() ([]raft.Server, error) {
	future := c.raft.GetConfiguration()
	if err := future.Error(); err != nil {
		return nil, translate(err)
	}
	return slices.Clone(future.Configuration().Servers), nil
}

// admitNodes makes nodes ready that were let in and are here.
func (c *Cluster) admitNodes(ctx context.Context) error {
	var errs []error
	for _, node := range c.State().Nodes {
		if node.Phase != Joining || !c.sees(node.ID) {
			continue
		}
		node.Phase = Ready
		_, err := c.Propose(ctx, PutNode(node))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// sees reports whether a node is alive as far as this one knows.
func (c *Cluster) sees(node shard.NodeID) bool {
	if node == c.node {
		return true
	}
	_, alive := c.members.Alive()[node]
	return alive
}

// setServers gives the log to every agreed node, and to nobody else.
func (c *Cluster) setServers(ctx context.Context, servers []raft.Server) error {
	nodes := c.State().Nodes
	listed := map[shard.NodeID]bool{}
	var errs []error
	for _, server := range servers {
		listed[shard.NodeID(server.ID)] = true
		if _, agreed := nodes[shard.NodeID(server.ID)]; !agreed && shard.NodeID(server.ID) != c.node {
			errs = append(errs, c.change(ctx, func() raft.IndexFuture { return c.raft.RemoveServer(server.ID, 0, enqueueTimeout) }))
		}
	}
	for id := range nodes {
		if !listed[id] {
			errs = append(errs, c.change(ctx, func() raft.IndexFuture {
				return c.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(id), 0, enqueueTimeout)
			}))
		}
	}
	return errors.Join(errs...)
}

// setVoters gives votes to those who should have them before it takes any away.
func (c *Cluster) setVoters(ctx context.Context, servers []raft.Server) error {
	nodes := c.State().Nodes
	var candidates []candidate
	votes := map[shard.NodeID]bool{}
	for _, server := range servers {
		id := shard.NodeID(server.ID)
		node, agreed := nodes[id]
		if !agreed {
			continue
		}
		votes[id] = server.Suffrage == raft.Voter
		candidates = append(candidates, candidate{
			node: id, voter: votes[id], leader: id == c.node, witness: !node.Works(),
			alive: c.sees(id) && node.Phase == Ready && !node.NonVoter,
		})
	}
	chosen := chooseVoters(candidates)
	for _, id := range chosen {
		if !votes[id] {
			return c.change(ctx, func() raft.IndexFuture {
				return c.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(id), 0, enqueueTimeout)
			}) // one at a time: each changes the majority
		}
	}
	for id, voter := range votes {
		if voter && !slices.Contains(chosen, id) {
			return c.change(ctx, func() raft.IndexFuture { return c.raft.DemoteVoter(raft.ServerID(id), 0, enqueueTimeout) })
		}
	}
	return nil
}

// change changes raft's servers.
func (c *Cluster) change(ctx context.Context, ask func() raft.IndexFuture) error {
	_, err := c.call(ctx, func() raft.Future { return ask() })
	return err
}

// Voters are the nodes whose votes count, sorted.
func (c *Cluster) Voters() ([]shard.NodeID, error) {
	servers, err := c.servers()
	if err != nil {
		return nil, err
	}
	var voters []shard.NodeID
	for _, server := range servers {
		if server.Suffrage == raft.Voter {
			voters = append(voters, shard.NodeID(server.ID))
		}
	}
	slices.Sort(voters)
	return voters, nil
}

// StepDown hands the coordinator's duties to another voter, if this node has them and there is one.
func (c *Cluster) StepDown(ctx context.Context) error {
	if leader, _ := c.Leader(); leader != c.node {
		return nil
	}
	voters, err := c.Voters()
	if err != nil || len(voters) < 2 {
		return err
	}
	_, err = c.call(ctx, func() raft.Future { return c.raft.LeadershipTransfer() })
	return err
}
