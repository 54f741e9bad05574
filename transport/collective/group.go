package collective

import (
	"fmt"

	"polynode/transport"
)

// gatherMax bounds what a rank gives to an AllGather, and what it takes from each other one, in bytes.
const gatherMax = 64 << 20

// Group is one rank's side of the ranks that split each matrix of a stage; it is the model's Group. All ranks call the
// same operations in the same order.
type Group struct {
	session  *session
	rank     int
	peers    []*link // by rank; nil for this one
	delay    int64   // see shard.Stage.DelayBytes
	out      []byte
	reducing reduction
	gathered [][]byte
}

// Solo is a group of one rank, which needs no links.
func Solo() *Group {
	return &Group{session: &session{}, peers: make([]*link, 1)}
}

// Rank is the number of this rank in the group.
func (g *Group) Rank() int { return g.rank }

// Size is the number of ranks.
func (g *Group) Size() int { return len(g.peers) }

// AllGather returns what every rank gave, by rank; lengths may differ. The result is valid until the next call and as
// long as mine is unchanged.
func (g *Group) AllGather(mine []byte) ([][]byte, error) {
	if g.session.err != nil {
		return nil, g.session.err
	}
	if len(mine) > gatherMax {
		return nil, g.session.fail(fmt.Errorf("%w: all-gather of %d bytes, limit %d", transport.ErrTooLarge, len(mine), gatherMax))
	}
	g.gathered = g.gathered[:0]
	if err := g.gather(mine); err != nil {
		return nil, err
	}
	for _, peer := range g.peers {
		if peer == nil {
			g.gathered = append(g.gathered, mine)
		} else {
			g.gathered = append(g.gathered, peer.gathered)
		}
	}
	return g.gathered, nil
}

// gather exchanges frame by frame until everybody has sent everything.
func (g *Group) gather(mine []byte) error {
	waiting := 0 // peers of which more is to come
	for _, peer := range g.peers {
		if peer != nil {
			peer.gathered = peer.gathered[:0]
			peer.more = true
			waiting++
		}
	}
	for sending := true; sending || waiting > 0; {
		if sending {
			n := min(len(mine), chunkBytes)
			sending = n < len(mine)
			if err := g.sendPart(mine[:n], sending); err != nil {
				return err
			}
			mine = mine[n:]
		}
		for _, peer := range g.peers {
			if peer == nil || !peer.more {
				continue
			}
			if err := g.recvPart(peer); err != nil {
				return err
			}
			if !peer.more {
				waiting--
			}
		}
	}
	return nil
}

// sendPart sends one part of what this rank gives to all others.
func (g *Group) sendPart(part []byte, more bool) error {
	var flags transport.Flags
	if more {
		flags = transport.FlagMore
	}
	for _, peer := range g.peers {
		if peer == nil {
			continue
		}
		if err := g.session.send(peer, transport.KindGather, flags, part); err != nil {
			return err
		}
	}
	return nil
}

// recvPart appends the next part of what a peer gives.
func (g *Group) recvPart(peer *link) error {
	if err := g.session.recv(peer, transport.KindGather); err != nil {
		return err
	}
	if len(peer.gathered)+len(peer.in.Payload) > gatherMax {
		return g.session.failAt(peer, fmt.Errorf("%w: all-gather of more than %d bytes", transport.ErrTooLarge, gatherMax))
	}
	peer.gathered = append(peer.gathered, peer.in.Payload...)
	peer.more = peer.in.Flags&transport.FlagMore != 0
	return nil
}
