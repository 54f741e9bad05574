package transport

import (
	"context"
	"net/netip"
)

// Limits of loose packets.
const (
	// PacketMax is how long a loose packet may be, in bytes: what fits into one Ethernet frame whatever is around it.
	PacketMax = 1400
	// PacketBacklogMax is how many packets wait at a node to be read. When there are more, new ones are lost.
	PacketBacklogMax = 256
)

// Datagrams are the loose packets of a node, for gossip: unordered, unreliable, and from anybody. Unlike connections they
// go to addresses, and neither side is authenticated; who reads them has to. Methods are safe for concurrent use.
type Datagrams interface {
	// Address is where this node can be reached, as far as it knows itself. It may change while the node runs.
	Address() netip.AddrPort
	// WritePacket sends one packet and does not wait for anything. The data is the caller's again afterwards. More than
	// PacketMax bytes fail with ErrTooLarge; that nobody is there is no error.
	WritePacket(to netip.AddrPort, data []byte) error
	// ReadPacket waits for the next packet. What does not fit into buf is lost.
	ReadPacket(ctx context.Context, buf []byte) (n int, from netip.AddrPort, err error)
	// DialAddress is Network.Dial for a node of which only the address is known. Peer of the connection says who is there:
	// any node of the cluster will do.
	DialAddress(ctx context.Context, to netip.AddrPort, class Class) (Conn, error)
}
