package linkprobe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"polynode/transport"
)

// Limits of a measure of bandwidth.
const (
	BulkBytes  = 2 << 20
	bulkTime   = 300 * time.Millisecond
	pieceBytes = 32 << 10
)

// Frames of a conversation: what Index says of a KindProbe. Each but a piece is answered with a KindEcho of the same step.
const (
	indexPing  = 0 // answered with one byte: 1 if the node is busy
	indexBegin = 1 // of bulk; answered with one byte: 1 if it may come
	indexPiece = 2
	indexEnd   = 3 // the last piece; answered with bytes and nanoseconds of the last part, 8 bytes each, little-endian
)

// errAnswer reports an answer that does not belong to its question.
var errAnswer = errors.New("malformed answer to a probe")

// asker is one connection to a peer, from the side that measures.
type asker struct {
	prober *Prober
	peer   string
	conn   transport.Conn // nil while there is none
	stop   func() bool
	frame  transport.Frame
	piece  []byte
	step   uint64
}

func (a *asker) close() {
	if a.conn != nil {
		a.stop()
		_ = a.conn.Close()
		a.conn = nil
	}
}

// round measures once. It reports whether bandwidth is still to be measured.
func (a *asker) round(ctx context.Context) (wanted bool) {
	err := a.dial(ctx)
	var best time.Duration
	var busy bool
	for i := 0; err == nil && i < pings; i++ {
		begun := time.Now()
		var answer []byte
		if answer, err = a.question(indexPing, nil); err == nil {
			if took := time.Since(begun); i == 0 || took < best {
				best = took
			}
			busy = len(answer) != 1 || answer[0] != 0
		}
	}
	if err == nil {
		a.prober.note(a.peer, func(s *series) { s.addRound(best) })
		wanted, err = a.bandwidth(busy)
	}
	if err != nil {
		a.close() // and again with the next round
	}
	return wanted
}

func (a *asker) dial(ctx context.Context) (err error) {
	if a.conn != nil {
		return nil
	}
	dialling, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	conn, err := a.prober.config.Network.Dial(dialling, a.peer, transport.ClassProbe)
	if err != nil {
		return err
	}
	a.conn, a.stop = conn, context.AfterFunc(ctx, func() { _ = conn.Close() })
	return nil
}

// send sends one frame.
func (a *asker) send(index uint32, payload []byte) error {
	out := transport.Frame{Header: transport.Header{Kind: transport.KindProbe, Step: a.step, Index: index}, Payload: payload}
	return a.conn.Send(&out)
}

// question sends a frame and waits for its answer, which is valid until the next call.
func (a *asker) question(index uint32, payload []byte) ([]byte, error) {
	a.step++
	if err := a.conn.SetDeadline(time.Now().Add(askWait)); err != nil {
		return nil, err
	}
	if err := a.send(index, payload); err != nil {
		return nil, err
	}
	if err := a.conn.Recv(&a.frame); err != nil {
		return nil, err
	}
	if a.frame.Kind != transport.KindEcho || a.frame.Step != a.step {
		return nil, fmt.Errorf("%w: kind %d of step %d", errAnswer, a.frame.Kind, a.frame.Step)
	}
	return a.frame.Payload, nil
}

// bandwidth measures how much goes through, if it is this node's turn, time, and nobody is disturbed. It reports whether it should be
// tried again soon.
func (a *asker) bandwidth(busy bool) (wanted bool, err error) {
	p := a.prober
	p.mu.Lock()
	rated := p.links[a.peer].ratedAt
	p.mu.Unlock()
	if p.config.Node > a.peer || !rated.IsZero() && time.Since(rated) < bulkEvery {
		return false, nil
	}
	if busy || p.config.Busy() {
		return rated.IsZero(), nil
	}
	select {
	case <-p.bulk:
	default:
		return true, nil
	}
	defer func() { p.bulk <- struct{}{} }()
	answer, err := a.question(indexBegin, nil)
	if err != nil {
		return true, err
	}
	if len(answer) != 1 || answer[0] != 1 {
		return true, nil
	}
	rate, err := a.pour()
	p.note(a.peer, func(s *series) {
		s.ratedAt = time.Now() // whatever came of it: a link on which it fails is not to be burdened again and again
		if err == nil && rate > 0 {
			s.addRate(rate)
		}
	})
	return false, err
}

// pour sends pieces until there are enough, time is up, or somebody needs the network. It gives bytes a second, or 0 if there were too
// few to tell.
func (a *asker) pour() (int64, error) {
	if a.piece == nil {
		a.piece = make([]byte, pieceBytes)
	}
	begun := time.Now()
	if err := a.conn.SetDeadline(begun.Add(askWait)); err != nil {
		return 0, err
	}
	for sent := pieceBytes; sent < BulkBytes && time.Since(begun) < bulkTime && !a.prober.config.Busy(); sent += pieceBytes {
		if err := a.send(indexPiece, a.piece); err != nil {
			return 0, err
		}
	}
	answer, err := a.question(indexEnd, a.piece)
	if err != nil {
		return 0, err
	}
	if len(answer) != 16 {
		return 0, fmt.Errorf("%w: %d bytes", errAnswer, len(answer))
	}
	bytes, took := binary.LittleEndian.Uint64(answer), time.Duration(binary.LittleEndian.Uint64(answer[8:]))
	if bytes < pieceBytes || bytes > BulkBytes || took < 0 {
		return 0, nil
	}
	return int64(float64(bytes) / max(took, tookLeast).Seconds()), nil
}

// tookLeast is the shortest time of half of the bytes that is believed.
const tookLeast = 10 * time.Microsecond
