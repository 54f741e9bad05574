package linkbench

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"polynode/transport"
)

// carrier exchanges as many bytes as it gets.
type carrier interface {
	begin() // a token
	end()
	exchange(bytes int) error
	bytes() int64 // sent and received so far
}

// noCarrier leaves exchanges out.
type noCarrier struct{}

func (noCarrier) begin()             {}
func (noCarrier) end()               {}
func (noCarrier) exchange(int) error { return nil }
func (noCarrier) bytes() int64       { return 0 }

// tcpCarrier is a plain connection with Go's network poller.
type tcpCarrier struct {
	conn  net.Conn
	out   [BytesMax]byte
	in    [BytesMax]byte
	count int64
}

func (c *tcpCarrier) begin()       { _ = c.conn.SetDeadline(time.Now().Add(tokenTimeout)) }
func (c *tcpCarrier) end()         {}
func (c *tcpCarrier) bytes() int64 { return c.count }

func (c *tcpCarrier) exchange(bytes int) error {
	if _, err := c.conn.Write(c.out[:bytes]); err != nil {
		return err
	}
	_, err := io.ReadFull(c.conn, c.in[:bytes])
	c.count += 2 * int64(bytes)
	return err
}

// quicCarrier is this program's transport.
type quicCarrier struct {
	network *transport.QUIC
	conn    transport.Conn
	out, in transport.Frame
	payload [BytesMax]byte
}

func (c *quicCarrier) begin() {
	_ = c.conn.SetDeadline(time.Now().Add(tokenTimeout))
	c.network.Hurry()
}

func (c *quicCarrier) end() { c.network.Relax() }

func (c *quicCarrier) bytes() int64 {
	sent, received := c.network.Traffic()
	return sent + received
}

func (c *quicCarrier) exchange(bytes int) error {
	c.out.Kind, c.out.Payload = transport.KindSums, c.payload[:bytes]
	if err := c.conn.Send(&c.out); err != nil {
		return err
	}
	if err := c.conn.Recv(&c.in); err != nil {
		return err
	}
	if len(c.in.Payload) != bytes {
		return fmt.Errorf("exchange: %d bytes, want %d", len(c.in.Payload), bytes)
	}
	return nil
}

// udpPacket is how many bytes go into one packet of raw UDP, behind udpHeader.
const (
	udpPacket = 1400
	udpHeader = 8
)

// udpCarrier sends packets without any care. A lost one fails the token.
type udpCarrier struct {
	conn    *net.UDPConn
	peer    netip.AddrPort // learned from the first packet, if not connected
	dialled bool
	number  uint32 // of the exchange
	early   int    // packets of the next exchange that have come
	buf     [udpHeader + udpPacket]byte
	count   int64
}

func (c *udpCarrier) begin()       { _ = c.conn.SetDeadline(time.Now().Add(tokenTimeout / 5)) }
func (c *udpCarrier) end()         {}
func (c *udpCarrier) bytes() int64 { return c.count }

func (c *udpCarrier) exchange(bytes int) error {
	c.number++
	packets := (bytes + udpPacket - 1) / udpPacket
	got := c.early
	c.early = 0
	for got == 0 && !c.peer.IsValid() && !c.dialled { // the side that was called learns where to send to
		n, err := c.read(&got)
		if err != nil {
			return err
		}
		c.count += int64(n)
	}
	for i := range packets {
		n := udpHeader + min(udpPacket, bytes-i*udpPacket)
		binary.LittleEndian.PutUint32(c.buf[:], c.number)
		to := c.peer
		if c.dialled {
			to = netip.AddrPort{}
		}
		if _, _, err := c.conn.WriteMsgUDPAddrPort(c.buf[:n], nil, to); err != nil {
			return err
		}
		c.count += int64(n)
	}
	for got < packets {
		n, err := c.read(&got)
		if err != nil {
			return fmt.Errorf("a packet was lost: %w", err)
		}
		c.count += int64(n)
	}
	return nil
}

// read takes one packet in, of this exchange or already of the next.
func (c *udpCarrier) read(got *int) (int, error) {
	n, from, err := c.conn.ReadFromUDPAddrPort(c.buf[:])
	if err != nil {
		return 0, err
	}
	c.peer = from
	if n < udpHeader {
		return n, nil
	}
	switch binary.LittleEndian.Uint32(c.buf[:]) {
	case c.number:
		*got++
	case c.number + 1:
		c.early++
	}
	return n, nil
}
