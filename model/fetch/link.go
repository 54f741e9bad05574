package fetch

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"polynode/model/store"
	"polynode/transport"
)

// link is a connection to a source, from the side that asks.
type link struct {
	conn    transport.Conn
	stop    func() bool
	digest  store.Hash
	silence time.Duration
	last    uint64 // number of the last request
	out     transport.Frame
	in      transport.Frame
}

// dial opens a connection to a source. It ends with the context.
func dial(ctx context.Context, g *getter, source string) (*link, error) {
	dialling, cancel := context.WithTimeout(ctx, g.options.Silence)
	defer cancel()
	conn, err := g.network.Dial(dialling, source, transport.ClassWeights)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	return &link{conn: conn, stop: stop, digest: g.digest, silence: g.options.Silence}, nil
}

func (l *link) close() {
	l.stop()
	l.conn.Close()
}

// ask sends a request and gives its number.
func (l *link) ask(op operation, spans []span) (uint64, error) {
	l.last++
	w := want{operation: op, digest: l.digest, spans: spans}
	l.out.Header = transport.Header{Kind: transport.KindWant, Step: l.last}
	l.out.Payload = w.append(l.out.Payload[:0])
	if err := l.conn.SetWriteDeadline(time.Now().Add(l.silence)); err != nil {
		return 0, err
	}
	return l.last, l.timed(l.conn.Send(&l.out))
}

// answer waits for the next frame of the answer to a request. The bytes are valid until the next call.
func (l *link) answer(request uint64) (data []byte, more bool, err error) {
	if err := l.conn.SetReadDeadline(time.Now().Add(l.silence)); err != nil {
		return nil, false, err
	}
	if err := l.timed(l.conn.Recv(&l.in)); err != nil {
		return nil, false, err
	}
	switch {
	case l.in.Kind == transport.KindFailed:
		reason := l.in.Payload[:min(len(l.in.Payload), reasonMax)]
		return nil, false, fmt.Errorf("%w: %s", ErrRefused, strconv.Quote(string(reason)))
	case l.in.Kind != transport.KindPart || l.in.Step != request:
		return nil, false, fmt.Errorf("%w: kind %d of request %d, want %d of %d", errMessage, l.in.Kind, l.in.Step, transport.KindPart, request)
	}
	return l.in.Payload, l.in.Flags&transport.FlagMore != 0, nil
}

// timed names a deadline that passed.
func (l *link) timed(err error) error {
	if errors.Is(err, transport.ErrDeadline) {
		return fmt.Errorf("%w: %v", ErrSilent, l.silence)
	}
	return err
}

// get asks for something that is not a unit, of at most so many bytes.
func (l *link) get(op operation, limit int64) ([]byte, error) {
	request, err := l.ask(op, nil)
	if err != nil {
		return nil, err
	}
	var all []byte
	for more := true; more; {
		var data []byte
		if data, more, err = l.answer(request); err != nil {
			return nil, err
		}
		if int64(len(all)+len(data)) > limit || more && len(data) == 0 {
			return nil, fmt.Errorf("%w: more than %d bytes", errMessage, limit)
		}
		all = append(all, data...)
	}
	return all, nil
}
