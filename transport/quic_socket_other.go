//go:build !linux

package transport

import (
	"net"
	"sync/atomic"
)

// newSocket leaves everything to quic-go: only Linux joins packets into trains.
func newSocket(conn *net.UDPConn, _ *atomic.Int32, _ *traffic) (net.PacketConn, error) {
	return conn, nil
}
