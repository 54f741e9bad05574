package relay

import (
	"encoding/binary"
	"math/bits"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// nap sleeps for a short while, to some microseconds. By default Linux lets a thread sleep for 50 µs longer than it asked for, to wake it
// together with others.
func nap(d time.Duration) {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // of whichever thread this goroutine is on now
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&ts, nil) // woken early it is called again
}

// joinPackets makes a socket hand packets over in trains.
func joinPackets(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1) // without it packets come one by one
	})
}

// segmentOf is the length of the packets in a train of so many bytes.
func segmentOf(oob []byte, bytes int) int {
	for len(oob) > 0 {
		header, body, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		if header.Level == unix.IPPROTO_UDP && header.Type == unix.UDP_GRO && len(body) >= 2 {
			if size := int(binary.NativeEndian.Uint16(body)); size > 0 {
				return size
			}
		}
		oob = rest
	}
	return bytes
}

// segmentControl asks the kernel to cut a train into packets again.
func segmentControl(segment int) []byte {
	word := bits.UintSize / 8
	oob := make([]byte, unix.CmsgSpace(2))
	if word == 8 {
		binary.NativeEndian.PutUint64(oob, uint64(unix.CmsgLen(2)))
	} else {
		binary.NativeEndian.PutUint32(oob, uint32(unix.CmsgLen(2)))
	}
	binary.NativeEndian.PutUint32(oob[word:], unix.IPPROTO_UDP)
	binary.NativeEndian.PutUint32(oob[word+4:], unix.UDP_SEGMENT)
	binary.NativeEndian.PutUint16(oob[unix.CmsgLen(0):], uint16(segment))
	return oob
}
