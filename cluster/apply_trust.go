package cluster

import (
	"fmt"
	"maps"
	"strings"

	"polynode/cluster/trust"
)

func (s *State) putToken(index uint64, c Command) error {
	if c.Token == nil || c.At <= 0 {
		return fmt.Errorf("%w: no token, or no time", ErrCommand)
	}
	record := *c.Token
	if err := record.Valid(); err != nil {
		return fmt.Errorf("%w: %w", ErrCommand, err)
	}
	if old, there := s.Tokens[record.ID]; there {
		return fmt.Errorf("%w: token %s is there since change %d", ErrConflict, record.ID, old.Index)
	}
	if err := expect("token", record.ID, c.Expect, 0); err != nil {
		return err
	}
	if len(s.Tokens) >= TokensMax {
		tokens := maps.Clone(s.Tokens)
		maps.DeleteFunc(tokens, func(_ string, r trust.TokenRecord) bool { return r.Dead(c.At) })
		if len(tokens) >= TokensMax {
			return fmt.Errorf("%w: %d tokens that can be used", ErrFull, TokensMax)
		}
		s.Tokens = tokens
	}
	record.Index = index
	put(&s.Tokens, record.ID, record)
	return nil
}

// useToken adds the node and counts the use, or does neither.
func (s *State) useToken(index uint64, c Command) error {
	if c.Node == nil || c.At <= 0 {
		return fmt.Errorf("%w: no node, or no time", ErrCommand)
	}
	record, there := s.Tokens[c.ID]
	if !there {
		return fmt.Errorf("%w: %w", ErrUnknown, trust.UnknownToken(c.ID))
	}
	node := *c.Node
	again := s.Joined(node.ID, record.ID)
	usable := record.Usable
	if again {
		usable = record.Repeatable
	}
	if err := usable(c.At); err != nil {
		return err
	}
	if err := expect("token", record.ID, c.Expect, record.Index); err != nil {
		return err
	}
	if err := s.mayJoin(node, record); err != nil {
		return err
	}
	old, there := s.Nodes[node.ID]
	node.Phase = Joining
	if there && old.Phase != Gone {
		node.Phase = old.Phase
	}
	node.Token, node.Index, record.Index = record.ID, index, index
	if !again {
		record.Used++
	}
	s.Nodes[node.ID], s.Tokens[record.ID] = node, record
	return nil
}

// mayJoin checks a node that comes with a good token.
func (s *State) mayJoin(node Node, record trust.TokenRecord) error {
	node.Phase = Joining
	if err := checkNode(node); err != nil {
		return err
	}
	if err := node.Facts.Check(); err != nil {
		return fmt.Errorf("%w: node %s: %w", ErrCommand, node.ID, err)
	}
	if node.Role != record.Role {
		return fmt.Errorf("%w: node %s as %q by token %s for a %s", trust.ErrRole, node.ID, node.Role, record.ID, record.Role)
	}
	if s.Revoked(node.ID, node.Serial) {
		return fmt.Errorf("%w: node %s; join with a new state folder", trust.ErrRevoked, node.ID)
	}
	old, there := s.Nodes[node.ID]
	if err := expect("node", string(node.ID), node.Index, old.Index); err != nil {
		return err
	}
	if !there && len(s.Nodes) >= NodesMax {
		return fmt.Errorf("%w: %w: %d nodes", ErrFull, trust.ErrFull, NodesMax)
	}
	return nil
}

func (s *State) revokeToken(index uint64, c Command) error {
	record, there := s.Tokens[c.ID]
	if !there {
		return fmt.Errorf("%w: %w", ErrUnknown, trust.UnknownToken(c.ID))
	}
	if err := expect("token", c.ID, c.Expect, record.Index); err != nil {
		return err
	}
	record.Revoked, record.Index = true, index
	s.Tokens[c.ID] = record
	return nil
}

func (s *State) revoke(index uint64, c Command) error {
	if c.Revocation == nil || c.At <= 0 || c.Revocation.Until <= c.At {
		return fmt.Errorf("%w: no revocation, or no time", ErrCommand)
	}
	r := *c.Revocation
	if err := checkName("node id", string(r.Node)); err != nil {
		return err
	}
	if strings.Contains(string(r.Node), "/") { // what keys are joined with
		return fmt.Errorf("%w: node id %q", ErrCommand, r.Node)
	}
	if err := checkSerial(r.Serial); err != nil {
		return err
	}
	_, there := s.Revocations[r.key()]
	if !there && len(s.Revocations) >= RevokedMax {
		left := maps.Clone(s.Revocations)
		maps.DeleteFunc(left, func(_ string, r Revocation) bool { return r.Until < c.At })
		if len(left) >= RevokedMax {
			return fmt.Errorf("%w: %d revocations; change the root of the cluster instead (`polynode cert rotate`)", ErrFull, RevokedMax)
		}
		s.Revocations = left
	}
	r.Index = index
	put(&s.Revocations, r.key(), r)
	if node, there := s.Nodes[r.Node]; there && r.Serial == "" {
		node.Phase, node.Index = Gone, index
		s.Nodes[r.Node] = node
	}
	return nil
}

func (s *State) putKeys(index uint64, c Command) error {
	if c.Keys == nil {
		return fmt.Errorf("%w: no keys", ErrCommand)
	}
	var old Keys
	if s.Keys != nil {
		old = *s.Keys
	}
	if err := expect("keys", "of the cluster", c.Expect, old.Index); err != nil {
		return err
	}
	if err := c.Keys.Bounded(); err != nil {
		return fmt.Errorf("%w: %w", ErrCommand, err)
	}
	if err := c.Keys.Follows(old.Keys); err != nil {
		return fmt.Errorf("%w: %w", ErrCommand, err)
	}
	s.Keys = &Keys{Keys: c.Keys.Clone(), Index: index}
	return nil
}

// checkSerial takes an empty one as well.
func checkSerial(serial string) error {
	if len(serial) > SerialMax || strings.Trim(serial, "0123456789abcdef") != "" {
		return fmt.Errorf("%w: serial number %.64q, want up to %d lower-case hexadecimal digits", ErrCommand, serial, SerialMax)
	}
	return nil
}

// put makes the map with its first entry, so that a state that never had one looks as it did before there were any.
func put[V any](m *map[string]V, key string, value V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[key] = value
}
