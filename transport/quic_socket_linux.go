package transport

import (
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// Limits of the socket.
const (
	socketBytes  = 64 << 10               // the longest train of packets that the kernel hands over at once
	pollSilence  = 500 * time.Millisecond // without a packet for so long, a reader that polls goes to sleep
	pollsPerLook = 256                    // between two looks at the clock
	sendersKept  = 1024                   // addresses that are remembered
)

// socket reads a UDP socket for quic-go in its own way: trains of packets in one system call (UDP_GRO), and without
// sleeping while somebody is in a hurry, because waking up takes longer than the network does. Reads belong to quic-go's one
// goroutine that reads.
type socket struct {
	*net.UDPConn
	raw     syscall.RawConn
	hurry   *atomic.Int32
	traffic *traffic
	attempt func(fd uintptr) bool // s.receive, made once

	buf     []byte
	oob     []byte
	n, oobn int
	from    syscall.Sockaddr
	err     error
	polling bool

	rest    []byte // of buf, not yet handed on
	segment int    // length of each packet in rest but the last
	sender  *net.UDPAddr
	senders map[netip.AddrPort]*net.UDPAddr
}

// newSocket wraps a UDP socket. Where the kernel has no UDP_GRO it reads packet by packet.
func newSocket(conn *net.UDPConn, hurry *atomic.Int32, traffic *traffic) (net.PacketConn, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	err = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1) // without it packets come one by one
	})
	if err != nil {
		return nil, err
	}
	s := &socket{
		UDPConn: conn, raw: raw, hurry: hurry, traffic: traffic,
		buf: make([]byte, socketBytes), oob: make([]byte, 256), senders: map[netip.AddrPort]*net.UDPAddr{},
	}
	s.attempt = s.receive
	return s, nil
}

// ReadBatch fills messages with packets that have come, and waits for the first.
func (s *socket) ReadBatch(messages []ipv4.Message, _ int) (int, error) {
	for len(s.rest) == 0 {
		if err := s.readTrain(); err != nil {
			return 0, err
		}
	}
	n := 0
	for n < len(messages) && len(s.rest) > 0 {
		m := &messages[n]
		packet := s.rest[:min(s.segment, len(s.rest))]
		s.rest = s.rest[len(packet):]
		m.N = copy(m.Buffers[0], packet)
		m.NN = copy(m.OOB, s.oob[:s.oobn])
		m.Addr = s.sender
		n++
	}
	return n, nil
}

// WriteMsgUDP counts what is sent.
func (s *socket) WriteMsgUDP(b, oob []byte, to *net.UDPAddr) (n, oobn int, err error) {
	s.traffic.sent.Add(int64(len(b)))
	return s.UDPConn.WriteMsgUDP(b, oob, to)
}

// readTrain waits for packets, asleep or polling.
func (s *socket) readTrain() error {
	if s.hurry.Load() == 0 {
		return s.read(false)
	}
	silent := time.Now()
	for polls := 1; ; polls++ {
		if err := s.read(true); err != nil || len(s.rest) > 0 {
			return err
		}
		if s.hurry.Load() == 0 || polls%pollsPerLook == 0 && time.Since(silent) > pollSilence {
			return s.read(false)
		}
		runtime.Gosched()
	}
}

// read receives one train. If it polls and nothing is there, rest stays empty.
func (s *socket) read(poll bool) error {
	s.polling = poll
	if err := s.raw.Read(s.attempt); err != nil {
		return err
	}
	if s.err == syscall.EAGAIN {
		return nil
	}
	if s.err != nil {
		return &net.OpError{Op: "read", Net: "udp", Err: s.err}
	}
	s.rest, s.segment = s.buf[:s.n], s.n
	s.traffic.received.Add(int64(s.n))
	s.sender = s.senderOf(s.from)
	s.oobn = min(s.oobn, len(s.oob))
	for data := s.oob[:s.oobn]; len(data) > 0; {
		header, body, remainder, err := unix.ParseOneSocketControlMessage(data)
		if err != nil {
			break
		}
		if header.Level == unix.IPPROTO_UDP && header.Type == unix.UDP_GRO && len(body) >= 2 {
			if size := int(binary.NativeEndian.Uint16(body)); size > 0 {
				s.segment = size
			}
		}
		data = remainder
	}
	return nil
}

// receive is one system call, the one of package syscall: x/sys would make a second one to decode the sender. It reports whether the caller is done, or wants to sleep until something comes.
func (s *socket) receive(fd uintptr) bool {
	for {
		s.n, s.oobn, _, s.from, s.err = syscall.Recvmsg(int(fd), s.buf, s.oob, syscall.MSG_DONTWAIT)
		if s.err != syscall.EINTR {
			return s.polling || s.err != syscall.EAGAIN
		}
	}
}

// senderOf makes an address once for each sender.
func (s *socket) senderOf(from syscall.Sockaddr) *net.UDPAddr {
	var key netip.AddrPort
	switch from := from.(type) {
	case *syscall.SockaddrInet4:
		key = netip.AddrPortFrom(netip.AddrFrom4(from.Addr), uint16(from.Port))
	case *syscall.SockaddrInet6:
		address := netip.AddrFrom16(from.Addr)
		if from.ZoneId != 0 {
			address = address.WithZone(strconv.FormatUint(uint64(from.ZoneId), 10))
		}
		key = netip.AddrPortFrom(address, uint16(from.Port))
	}
	if sender, ok := s.senders[key]; ok {
		return sender
	}
	if len(s.senders) >= sendersKept {
		clear(s.senders)
	}
	sender := net.UDPAddrFromAddrPort(key)
	s.senders[key] = sender
	return sender
}
