package fetch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"polynode/model/store"
	"polynode/transport"
)

// Limits of a server.
const (
	streamsMax = 4               // connections of one peer
	idleMax    = 2 * time.Minute // for which a connection may ask for nothing, or not take what it asked for
)

// ErrRefused reports a node that does not give what it was asked for. The text has its reason.
var ErrRefused = errors.New("refused")

// Server gives parts of the models in a folder to other nodes. Its zero value with a Dir is ready; it must not be copied after
// first use. Serve may be called by many goroutines at once.
type Server struct {
	Dir            *store.Dir
	BytesPerSecond int64 // for all peers together; zero for no limit
	Pace           *Pace // instead of BytesPerSecond; may be nil

	mu      sync.Mutex
	limiter *rate.Limiter
	streams map[string]int            // by peer
	models  map[store.Hash]*openModel // that some connection uses
}

// openModel is a model and the number of connections that use it.
type openModel struct {
	*store.Model
	users int
}

// Serve answers the requests of one connection of transport.ClassWeights, which it closes, until the peer is done (nothing is
// returned then), the context ends or something is wrong with the connection.
func (s *Server) Serve(ctx context.Context, conn transport.Conn) error {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	a := answerer{server: s, conn: conn}
	defer a.leave()
	if !s.enter(conn.Peer()) {
		_ = conn.SetDeadline(time.Now().Add(idleMax))
		return a.refuse(0, fmt.Errorf("%w: %d connections already", ErrRefused, streamsMax))
	}
	defer s.exit(conn.Peer())
	for {
		err := a.next(ctx)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, transport.ErrPeerGone):
			return nil
		default:
			return fmt.Errorf("serve weights to %s: %w", conn.Peer(), err)
		}
	}
}

// enter counts a connection and says whether there may be one more.
func (s *Server) enter(peer string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.limiter == nil {
		s.limiter = limiterOf(s.Pace, s.BytesPerSecond)
		s.streams, s.models = map[string]int{}, map[store.Hash]*openModel{}
	}
	if s.streams[peer] >= streamsMax {
		return false
	}
	s.streams[peer]++
	return true
}

func (s *Server) exit(peer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams[peer]--; s.streams[peer] == 0 {
		delete(s.streams, peer)
	}
}

// open gives the model of a digest, which the caller has to release.
func (s *Server) open(digest store.Hash) (*openModel, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.models[digest]; m != nil {
		m.users++
		return m, nil
	}
	m, err := s.Dir.Open(digest.String())
	if err != nil {
		return nil, err
	}
	s.models[digest] = &openModel{Model: m, users: 1}
	return s.models[digest], nil
}

func (s *Server) release(m *openModel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.users--; m.users == 0 {
		delete(s.models, m.Digest())
		_ = m.Close() // it was only read
	}
}

// answerer is the server's side of one connection.
type answerer struct {
	server *Server
	conn   transport.Conn
	model  *openModel // of the last request
	in     transport.Frame
	out    transport.Frame
	buf    []byte // units under way
}

// leave gives the model back.
func (a *answerer) leave() {
	if a.model != nil {
		a.server.release(a.model)
		a.model = nil
	}
}

// next answers one request.
func (a *answerer) next(ctx context.Context) error {
	if err := a.conn.SetReadDeadline(time.Now().Add(idleMax)); err != nil {
		return err
	}
	if err := a.conn.Recv(&a.in); err != nil {
		return err
	}
	w, err := parseWant(&a.in)
	if err != nil {
		return errors.Join(err, a.refuse(a.in.Step, err))
	}
	if a.model == nil || a.model.Digest() != w.digest {
		a.leave()
		if a.model, err = a.server.open(w.digest); err != nil {
			a.model = nil
			return a.refuse(a.in.Step, err)
		}
	}
	if w.operation == getUnits {
		if err := w.check(a.model.Numbering()); err != nil {
			return errors.Join(err, a.refuse(a.in.Step, err))
		}
		return a.units(ctx, w.spans)
	}
	data, err := a.about(w.operation)
	if err != nil {
		return a.refuse(a.in.Step, err)
	}
	return a.send(ctx, data, false)
}

// about gives what is not a unit.
func (a *answerer) about(op operation) ([]byte, error) {
	switch op {
	case getManifest:
		return a.model.ManifestBytes(), nil
	case getTokenizer:
		return a.model.Tokenizer()
	case getPresent:
		return a.model.Present().AppendBits(nil), nil
	default:
		d, err := a.model.Describe()
		return d.Hashes, err
	}
}

// units sends units, as many in a frame as fit.
func (a *answerer) units(ctx context.Context, spans []span) error {
	buf := a.buf[:0]
	defer func() { a.buf = buf }()
	for _, s := range spans {
		for number := s.lo; number < s.hi; number++ {
			u, err := a.model.Numbering().Unit(number)
			if err != nil {
				return err
			}
			if len(buf) > 0 && int64(len(buf))+u.Size() > pieceBytes {
				if err := a.send(ctx, buf, true); err != nil {
					return err
				}
				buf = buf[:0]
			}
			if buf, err = a.model.AppendUnit(buf, u); err != nil {
				return a.refuse(a.in.Step, err)
			}
		}
	}
	return a.send(ctx, buf, false)
}

// send sends a part of the answer to the last request, in as many frames as it takes.
func (a *answerer) send(ctx context.Context, data []byte, more bool) error {
	for len(data) > pieceBytes {
		if err := a.sendPiece(ctx, data[:pieceBytes], true); err != nil {
			return err
		}
		data = data[pieceBytes:]
	}
	return a.sendPiece(ctx, data, more)
}

// sendPiece sends one frame.
func (a *answerer) sendPiece(ctx context.Context, data []byte, more bool) error {
	if err := pace(ctx, a.server.limiter, len(data)); err != nil {
		return err
	}
	a.out.Header = transport.Header{Kind: transport.KindPart, Step: a.in.Step}
	if more {
		a.out.Flags = transport.FlagMore
	}
	a.out.Payload = data
	if err := a.conn.SetWriteDeadline(time.Now().Add(idleMax)); err != nil {
		return err
	}
	return a.conn.Send(&a.out)
}

// refuse tells the peer why it does not get what it asked for.
func (a *answerer) refuse(request uint64, why error) error {
	text := why.Error()
	f := transport.Frame{
		Header:  transport.Header{Kind: transport.KindFailed, Step: request},
		Payload: []byte(text[:min(len(text), reasonMax)]),
	}
	if err := a.conn.SetWriteDeadline(time.Now().Add(idleMax)); err != nil {
		return err
	}
	return a.conn.Send(&f)
}

// newLimiter makes a limiter for so many bytes each second, or for any number if that is zero.
func newLimiter(bytesPerSecond int64) *rate.Limiter {
	if bytesPerSecond <= 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	// A tenth of a second at once, so that others on the line do not notice.
	return rate.NewLimiter(rate.Limit(bytesPerSecond), int(min(max(bytesPerSecond/10, 16<<10), batchMax)))
}

// pace waits until n bytes may go.
func pace(ctx context.Context, limiter *rate.Limiter, n int) error {
	if limiter.Limit() == rate.Inf {
		return nil
	}
	for n > 0 {
		part := min(n, limiter.Burst())
		if err := limiter.WaitN(ctx, part); err != nil {
			return err
		}
		n -= part
	}
	return nil
}
