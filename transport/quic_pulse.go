package transport

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
)

// The pulse of a session is a stream of single bytes on which each side asks from time to time whether the other one hears it. QUIC's own
// time-out notices who is not heard any more; who is heard and does not hear, as behind a cut in one direction, only the pulse does.
const (
	pulseMark   = 0xff // where other streams begin with a class
	pulseAsk    = 1
	pulseAnswer = 2
)

// Both are parts of the idle time-out, so that silence is noticed between 5 and 7 sevenths of it after it began.
const (
	pulseParts    = 7 // one lies between two questions
	pulsePatience = 6 // so many without an answer end the session
)

// openPulse begins the pulse of a session that this node has called.
func (s *session) openPulse() {
	stream, err := s.conn.OpenStreamSync(s.conn.Context())
	if err != nil {
		return // the session is over
	}
	if _, err := stream.Write(append(make([]byte, 0, preambleBytes), pulseMark)[:preambleBytes]); err != nil {
		return
	}
	s.keepPulse(stream)
}

// keepPulse asks and answers until the session ends, and ends it when nothing answers. A peer without a pulse refuses the stream, and
// is left to QUIC's own time-out. What is written here is never more than QUIC keeps without waiting.
func (s *session) keepPulse(stream *quic.Stream) {
	defer abandon(stream, codeClosed)
	start := time.Now()
	var answered atomic.Int64 // since start
	refused := make(chan struct{})
	s.network.done.Go(func() {
		defer close(refused)
		s.answerPulse(stream, func() { answered.Store(int64(time.Since(start))) })
	})
	every := s.network.config.IdleTimeout / pulseParts
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	last := time.Duration(0)
	for {
		select {
		case <-s.conn.Context().Done():
			return
		case <-refused:
			return
		case <-ticker.C:
		}
		now := time.Since(start)
		if now-last > 2*every { // it is this process that was held up
			answered.Store(int64(now))
		}
		last = now
		// Where queues on the way are long, an answer takes its time.
		patience := pulsePatience*every + 2*s.conn.ConnectionStats().SmoothedRTT
		if silent := now - time.Duration(answered.Load()); silent >= patience-every/2 {
			s.fail(codeSilent, fmt.Errorf("%w: no answer for %v", ErrSilent, silent.Round(time.Millisecond)))
			return
		}
		if _, err := stream.Write([]byte{pulseAsk}); err != nil {
			return
		}
	}
}

// answerPulse reads what the peer says on the pulse until it says no more.
func (s *session) answerPulse(stream *quic.Stream, answered func()) {
	var buf [16]byte
	for {
		n, err := stream.Read(buf[:])
		for _, b := range buf[:n] {
			switch b {
			case pulseAnswer:
				answered()
			case pulseAsk:
				if _, err := stream.Write([]byte{pulseAnswer}); err != nil {
					return
				}
			}
		}
		if err != nil {
			return
		}
	}
}
