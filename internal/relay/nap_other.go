//go:build !linux

package relay

import (
	"net"
	"time"
)

// nap waits for a short while.
func nap(d time.Duration) { <-time.After(d) }

// joinPackets does nothing: only Linux joins packets.
func joinPackets(*net.UDPConn) error { return nil }

// segmentOf is the length of the only packet.
func segmentOf(_ []byte, bytes int) int { return bytes }

// segmentControl is not called where packets are not joined.
func segmentControl(int) []byte { return nil }
