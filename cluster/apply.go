package cluster

import (
	"fmt"
	"unicode/utf8"

	"polynode/cluster/trust"
	"polynode/shard"
)

// Result is the answer to a command: the index at which it was applied, and why it was refused, if so.
type Result struct {
	Index uint64
	Err   error
}

// Apply takes the state from one command to the next. The same state, index and command give the same state and the
// same refusal on every node; a refused command changes nothing. Indexes must grow.
func (s *State) Apply(index uint64, command Command) Result {
	err := s.apply(index, command)
	if err != nil {
		err = fmt.Errorf("apply %s at %d: %w", command.Kind, index, err)
	}
	return Result{Index: index, Err: err}
}

func (s *State) apply(index uint64, c Command) error {
	if c.Version != commandVersion {
		return fmt.Errorf("%w: version %d, want %d", ErrCommand, c.Version, commandVersion)
	}
	if c.Kind == KindFound {
		return s.found(c)
	}
	if s.ID == "" {
		return fmt.Errorf("%w: the cluster is not founded yet", ErrConflict)
	}
	switch c.Kind {
	case KindNode:
		return s.putNode(index, c)
	case KindForget:
		return s.forgetNode(c)
	case KindModel:
		return s.putModel(index, c)
	case KindDrop:
		return s.dropModel(c)
	case KindPrepare:
		return s.prepare(index, c)
	case KindActivate:
		return s.activate(index, c)
	case KindAbandon:
		return s.abandon(c)
	case KindToken:
		return s.putToken(index, c)
	case KindTokenUse:
		return s.useToken(index, c)
	case KindTokenRevoke:
		return s.revokeToken(index, c)
	case KindRevoke:
		return s.revoke(index, c)
	case KindKeys:
		return s.putKeys(index, c)
	}
	return fmt.Errorf("%w: kind %q", ErrCommand, c.Kind)
}

func (s *State) found(c Command) error {
	if err := checkName("cluster id", c.ID); err != nil {
		return err
	}
	if s.ID != "" {
		return fmt.Errorf("%w: the cluster is founded already", ErrConflict)
	}
	s.ID, s.Generation = c.ID, 1
	s.Nodes, s.Models = map[shard.NodeID]Node{}, map[string]Model{}
	return nil
}

func (s *State) putNode(index uint64, c Command) error {
	if c.Node == nil {
		return fmt.Errorf("%w: no node", ErrCommand)
	}
	node := *c.Node
	if err := checkNode(node); err != nil {
		return err
	}
	if s.Revoked(node.ID, "") && node.Phase != Gone {
		return fmt.Errorf("%w: node %s", trust.ErrRevoked, node.ID)
	}
	old, there := s.Nodes[node.ID]
	if err := expect("node", string(node.ID), c.Expect, old.Index); err != nil {
		return err
	}
	if !there && len(s.Nodes) >= NodesMax {
		return fmt.Errorf("%w: %d nodes", ErrFull, NodesMax)
	}
	node.Index = index
	s.Nodes[node.ID] = node
	return nil
}

func (s *State) forgetNode(c Command) error {
	node, there := s.Nodes[shard.NodeID(c.ID)]
	if !there {
		return fmt.Errorf("%w: node %s", ErrUnknown, c.ID)
	}
	if err := expect("node", c.ID, c.Expect, node.Index); err != nil {
		return err
	}
	for _, plan := range s.plans() {
		if _, _, used := plan.Find(node.ID); used {
			return fmt.Errorf("%w: node %s", ErrInUse, node.ID)
		}
	}
	delete(s.Nodes, node.ID)
	return nil
}

func (s *State) putModel(index uint64, c Command) error {
	if c.Model == nil {
		return fmt.Errorf("%w: no model", ErrCommand)
	}
	model := *c.Model
	if err := checkName("model digest", model.Digest); err != nil {
		return err
	}
	if err := checkName("model name", model.Name); err != nil {
		return err
	}
	if err := model.Shape.Validate(); err != nil {
		return fmt.Errorf("%w: model %s: %w", ErrCommand, model.Name, err)
	}
	old, there := s.Models[model.Digest]
	if err := expect("model", model.Digest, c.Expect, old.Index); err != nil {
		return err
	}
	if there && old.Shape != model.Shape {
		return fmt.Errorf("%w: model %s: another shape with the same digest", ErrConflict, model.Digest)
	}
	if !there && len(s.Models) >= ModelsMax {
		return fmt.Errorf("%w: %d models", ErrFull, ModelsMax)
	}
	model.Index = index
	s.Models[model.Digest] = model
	return nil
}

func (s *State) dropModel(c Command) error {
	model, there := s.Models[c.ID]
	if !there {
		return fmt.Errorf("%w: model %s", ErrUnknown, c.ID)
	}
	if err := expect("model", c.ID, c.Expect, model.Index); err != nil {
		return err
	}
	for _, plan := range s.plans() {
		if plan.Model == model.Digest {
			return fmt.Errorf("%w: model %s", ErrInUse, model.Digest)
		}
	}
	delete(s.Models, model.Digest)
	return nil
}

func (s *State) prepare(index uint64, c Command) error {
	if c.Plan == nil {
		return fmt.Errorf("%w: no plan", ErrCommand)
	}
	if err := expect("plan", "epoch", c.Expect, uint64(s.Epoch())); err != nil {
		return err
	}
	model, there := s.Models[c.Plan.Model]
	if !there {
		return fmt.Errorf("%w: model %s", ErrUnknown, c.Plan.Model)
	}
	if err := c.Plan.Validate(model.Shape); err != nil {
		return err
	}
	if err := s.allReady(c.Plan); err != nil {
		return err
	}
	s.Prepared = &Prepared{Index: index, Plan: *unnumbered(c.Plan)}
	return nil
}

func (s *State) activate(index uint64, c Command) error {
	if err := s.expectPrepared(c.Expect); err != nil {
		return err
	}
	if err := s.allReady(&s.Prepared.Plan); err != nil {
		return err // a node left while the plan was prepared
	}
	plan := s.Prepared.Plan
	plan.Epoch = shard.Epoch(index)
	s.Plan, s.Prepared = &plan, nil
	return nil
}

func (s *State) abandon(c Command) error {
	if err := s.expectPrepared(c.Expect); err != nil {
		return err
	}
	s.Prepared = nil
	return nil
}

func (s *State) expectPrepared(index uint64) error {
	if s.Prepared == nil {
		return fmt.Errorf("%w: no plan is prepared", ErrConflict)
	}
	return expect("prepared plan", "index", index, s.Prepared.Index)
}

// plans are those that keep nodes and models in use.
func (s *State) plans() []*shard.Plan {
	var plans []*shard.Plan
	if s.Plan != nil {
		plans = append(plans, s.Plan)
	}
	if s.Prepared != nil {
		plans = append(plans, &s.Prepared.Plan)
	}
	return plans
}

// allReady checks that every node of the plan may work.
func (s *State) allReady(plan *shard.Plan) error {
	for _, id := range plan.Nodes() {
		node, there := s.Nodes[id]
		if !there {
			return fmt.Errorf("%w: node %s", ErrUnknown, id)
		}
		if node.Phase != Ready {
			return fmt.Errorf("%w: node %s is %s", ErrNotReady, id, node.Phase)
		}
		if !node.Works() {
			return fmt.Errorf("%w: node %s is a witness", ErrNotReady, id)
		}
	}
	return nil
}

// expect compares what the sender of a command had seen with what is there.
func expect(what, name string, seen, there uint64) error {
	if seen != there {
		return fmt.Errorf("%w: %s %s: expected change %d, found %d", ErrConflict, what, name, seen, there)
	}
	return nil
}

// checkNode makes sure of lengths and words. Whether names can be shown and addresses be called is checked where they come in: what
// a library thinks of them may change from build to build, and here all must decide alike.
func checkNode(node Node) error {
	if err := checkName("node id", string(node.ID)); err != nil {
		return err
	}
	switch node.Phase {
	case Joining, Ready, Draining, Gone:
	default:
		return fmt.Errorf("%w: node %s: phase %q", ErrCommand, node.ID, node.Phase)
	}
	if node.Role != "" && !node.Role.Valid() {
		return fmt.Errorf("%w: node %s: role %q", ErrCommand, node.ID, node.Role)
	}
	for _, text := range []struct {
		what, value string
	}{{"name of a node", node.Name}, {"address", node.Address}, {"token id", node.Token}} {
		if text.value == "" {
			continue
		}
		if err := checkName(text.what, text.value); err != nil {
			return err
		}
	}
	return checkSerial(node.Serial)
}

func checkName(what, name string) error {
	if len(name) < 1 || len(name) > NameMax {
		return fmt.Errorf("%w: %s of %d bytes, want 1 to %d", ErrCommand, what, len(name), NameMax)
	}
	if !utf8.ValidString(name) {
		return fmt.Errorf("%w: %s %q is not UTF-8", ErrCommand, what, name)
	}
	return nil
}
