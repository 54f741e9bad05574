package member

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"

	"polynode/cluster"
	"polynode/cluster/trust"
	"polynode/shard"
)

// Remains is what a node that is down remembers of its cluster.
type Remains struct {
	Cluster    string   `json:"cluster"`
	Generation uint64   `json:"generation"`
	Node       string   `json:"node"`
	Voters     []string `json:"voters"` // titles of all that vote
	Lost       []string `json:"lost"`   // of all nodes but this one: they have to join anew after a recovery
	Votes      bool     `json:"votes"`  // this node has a vote
	Rooted     bool     `json:"rooted"` // and the private key of the cluster's root

	id shard.NodeID
}

// ErrRecover reports a node whose cluster cannot be recovered from it.
var ErrRecover = errors.New("the cluster cannot be recovered here")

// Examine reads the folder of a node. The node has to be down.
func Examine(dir string) (Remains, error) {
	if !Exists(dir) {
		return Remains{}, fmt.Errorf("%w: %s is the folder of no node; name the right one with --data", ErrRecover, dir)
	}
	folder, err := trust.OpenFolder(dir)
	if err != nil {
		return Remains{}, err
	}
	self, err := folder.Identity()
	if err != nil {
		return Remains{}, err
	}
	state, voters, err := cluster.Look(cluster.Config{Node: self.ID(), Dir: filepath.Join(dir, dirRaft)})
	if err != nil {
		return Remains{}, err
	}
	r := Remains{Cluster: state.ID, Generation: state.Generation, id: self.ID()}
	name := func(id shard.NodeID) string {
		return fmt.Sprintf("%s (%.8s)", cmp.Or(state.Nodes[id].Name, "unnamed"), id)
	}
	r.Node = name(r.id)
	for _, id := range voters {
		r.Voters = append(r.Voters, name(id))
	}
	for id := range state.Nodes {
		if id != r.id {
			r.Lost = append(r.Lost, name(id))
		}
	}
	slices.Sort(r.Voters)
	slices.Sort(r.Lost)
	r.Votes = slices.Contains(voters, r.id)
	_, err = folder.CA()
	r.Rooted = err == nil
	return r, nil
}

// Check says why the cluster cannot or need not be recovered from this node.
func (r *Remains) Check() error {
	switch {
	case r.Votes && len(r.Voters) == 1:
		return fmt.Errorf("%w: node %s is the only one that votes, and needs nobody: `polynode up` starts it", ErrRecover, r.Node)
	case !r.Votes:
		return fmt.Errorf("%w: node %s has no vote and may lack what was agreed on last; recover on one of %v, or if none of them is left, "+
			"found a new cluster with `polynode up` and another --data: models can be imported or copied into it", ErrRecover, r.Node, r.Voters)
	case !r.Rooted:
		return fmt.Errorf("%w: node %s was never given the private key of the cluster's root, so that no machine could join; recover on one of %v", ErrRecover, r.Node, r.Voters)
	}
	return nil
}

// Recover makes the node of a folder, which is down, the only one of its cluster. See cluster.Recover.
func Recover(dir string, logger *slog.Logger) (Remains, error) {
	r, err := Examine(dir)
	if err == nil {
		err = r.Check()
	}
	if err != nil {
		return r, err
	}
	if err := cluster.Recover(cluster.Config{Node: r.id, Dir: filepath.Join(dir, dirRaft), Logger: logger}); err != nil {
		return r, err
	}
	r.Generation++
	k, err := readKnown(dir)
	if err == nil {
		k.Peers = nil // none of them belongs to it any more
		err = k.write(dir)
	}
	return r, err
}
