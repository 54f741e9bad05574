package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/quic-go/quic-go"
)

// packetMark is the first byte of a loose packet. QUIC's own have one of the two highest bits set.
const packetMark = 0

// Address implements Datagrams.
func (q *QUIC) Address() netip.AddrPort {
	if q.config.Advertise != nil {
		return q.config.Advertise()
	}
	address := addrPortOf(q.udp.LocalAddr())
	if address.Addr().IsUnspecified() {
		return netip.AddrPortFrom(ownAddress(), address.Port())
	}
	return address
}

// WritePacket implements Datagrams. That a packet could not be sent, because there is no way to the address or no room
// in a queue, is no error either: packets get lost.
func (q *QUIC) WritePacket(to netip.AddrPort, data []byte) error {
	if len(data) > PacketMax {
		return fmt.Errorf("write packet to %v: %w: %d bytes, limit %d", to, ErrTooLarge, len(data), PacketMax)
	}
	room := q.packets.Get().(*[packetRoom]byte)
	defer q.packets.Put(room)
	room[0] = packetMark
	n := 1 + copy(room[1:], data)
	if _, err := q.transport.WriteTo(room[:n], net.UDPAddrFromAddrPort(to)); err != nil && q.isClosed() {
		return fmt.Errorf("write packet to %v: %w", to, ErrClosed)
	}
	return nil
}

// keepPackets makes quic-go keep loose packets from now on: it drops them until somebody has asked for one.
func (q *QUIC) keepPackets(ctx context.Context) {
	ended, end := context.WithCancel(ctx)
	end()
	_, _, _ = q.transport.ReadNonQUICPacket(ended, nil)
}

// ReadPacket implements Datagrams. Somebody should be reading always: quic-go keeps 32 packets and drops what comes then.
func (q *QUIC) ReadPacket(ctx context.Context, buf []byte) (int, netip.AddrPort, error) {
	room := q.packets.Get().(*[packetRoom]byte)
	defer q.packets.Put(room)
	for {
		n, from, err := q.transport.ReadNonQUICPacket(ctx, room[:])
		switch {
		case err != nil && (q.isClosed() || errors.Is(err, quic.ErrTransportClosed)):
			return 0, netip.AddrPort{}, fmt.Errorf("read packet: %w", ErrClosed)
		case err != nil:
			return 0, netip.AddrPort{}, fmt.Errorf("read packet: %w", err)
		case n > 0 && room[0] == packetMark:
			return copy(buf, room[1:n]), addrPortOf(from), nil
		}
	}
}
