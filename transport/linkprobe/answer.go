package linkprobe

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"polynode/transport"
)

// idleMax is how long a peer may ask for nothing before its connection is ended: it dials again.
const idleMax = time.Minute

// answer serves the probes of others until ctx ends.
func (p *Prober) answer(ctx context.Context) {
	var serving sync.WaitGroup
	defer serving.Wait()
	for {
		conn, err := p.config.Network.Accept(ctx, transport.ClassProbe)
		if err != nil {
			return
		}
		serving.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			s := server{prober: p, conn: conn}
			defer s.end()
			for s.next() == nil {
			}
		})
	}
}

// server is one connection to a peer, from the side that answers.
type server struct {
	prober  *Prober
	conn    transport.Conn
	in      transport.Frame
	out     [16]byte
	pouring bool // bandwidth is being measured, and the turn is held
	bytes   int  // that came
	marks   []mark
}

// mark is how many bytes had come at a time.
type mark struct {
	bytes int
	at    time.Time
}

// marksAt are the bytes at which marks are made, beside the first piece: what a network lets through at first is less than it can do, and a
// slow one does not get far.
var marksAt = [...]int{BulkBytes / 8, BulkBytes / 2}

// end gives the turn back if the peer did not come to the end.
func (s *server) end() {
	if s.pouring {
		s.pouring = false
		s.prober.bulk <- struct{}{}
	}
}

// next takes one frame.
func (s *server) next() error {
	wait := idleMax
	if s.pouring {
		wait = askWait
	}
	if err := s.conn.SetDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	if err := s.conn.Recv(&s.in); err != nil {
		return err
	}
	if s.in.Kind != transport.KindProbe || len(s.in.Payload) > pieceBytes {
		return fmt.Errorf("%w: kind %d, %d bytes", transport.ErrFrame, s.in.Kind, len(s.in.Payload))
	}
	switch s.in.Index {
	case indexPing:
		return s.say(flag(s.prober.config.Busy()))
	case indexBegin:
		return s.say(flag(s.begin()))
	case indexPiece, indexEnd:
		return s.take()
	}
	return fmt.Errorf("%w: probe of kind %d", transport.ErrFrame, s.in.Index)
}

// begin reports whether bandwidth may be measured now, and takes the turn.
func (s *server) begin() bool {
	if s.pouring || s.prober.config.Busy() {
		return false
	}
	select {
	case <-s.prober.bulk:
	default:
		return false
	}
	s.pouring, s.bytes, s.marks = true, 0, s.marks[:0]
	return true
}

// take counts a piece.
func (s *server) take() error {
	s.bytes += len(s.in.Payload)
	if !s.pouring || s.bytes > BulkBytes {
		return fmt.Errorf("%w: %d bytes that nobody allowed", transport.ErrFrame, s.bytes)
	}
	if passed := len(s.marks) - 1; passed < 0 || passed < len(marksAt) && s.bytes >= marksAt[passed] {
		s.marks = append(s.marks, mark{s.bytes, time.Now()})
	}
	if s.in.Index == indexPiece {
		return nil
	}
	bytes, took := s.last()
	s.end()
	answer := binary.LittleEndian.AppendUint64(s.out[:0], uint64(bytes))
	return s.say(binary.LittleEndian.AppendUint64(answer, uint64(took)))
}

// last is the latest part that is half of everything, and how long it took.
func (s *server) last() (bytes int, took time.Duration) {
	now := time.Now()
	for _, m := range s.marks {
		if rest := s.bytes - m.bytes; bytes == 0 || rest >= s.bytes/2 {
			bytes, took = rest, now.Sub(m.at)
		}
	}
	return bytes, took
}

func (s *server) say(answer []byte) error {
	out := transport.Frame{Header: transport.Header{Kind: transport.KindEcho, Step: s.in.Step}, Payload: answer}
	return s.conn.Send(&out)
}

func flag(set bool) []byte {
	if set {
		return []byte{1}
	}
	return []byte{0}
}
