package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"polynode/engine"
	"polynode/shard"
	"polynode/transport"
)

// Server lends a worker to coordinators, near and far. One of them has it at a time: the one with the newest epoch. Its methods may be called
// from several goroutines at once.
type Server struct {
	worker *Worker
	fence  transport.Fence
	turn   chan struct{} // holds one while nobody has the worker

	mu  sync.Mutex
	end context.CancelFunc // ends the work of whoever has the worker, or had it last
}

// NewServer lends worker, which nobody uses but through the server from now on.
func NewServer(worker *Worker) *Server {
	s := &Server{worker: worker, turn: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	return s
}

// take ends the work of whoever has the worker and waits for it. The context that it returns ends with ctx, or when somebody else takes
// the worker. An epoch that has passed is refused with transport.ErrStaleEpoch.
func (s *Server) take(ctx context.Context, generation uint64, epoch shard.Epoch) (working context.Context, give func(), err error) {
	if err := s.fence.Admit(generation, uint64(epoch)); err != nil {
		return nil, nil, err
	}
	working, end := context.WithCancel(ctx)
	s.mu.Lock()
	if s.end != nil {
		s.end()
	}
	s.end = end
	s.mu.Unlock()
	select {
	case <-s.turn:
		return working, func() {
			end()
			s.turn <- struct{}{}
		}, nil
	case <-working.Done():
		end()
		return nil, nil, fmt.Errorf("wait for the rank: %w", working.Err())
	}
}

// Serve does what the coordinator at the other end of conn wants until the connection or ctx ends, or a newer plan takes the worker. Then
// conn is closed, and the worker has no plan. pipeline.Far says what is spoken.
func (s *Server) Serve(ctx context.Context, conn transport.Conn) error {
	defer conn.Close()
	var frame transport.Frame
	if err := conn.Recv(&frame); err != nil {
		return fmt.Errorf("serve rank: %w", err)
	}
	if frame.Kind != transport.KindAssign {
		return fmt.Errorf("serve rank: %w: kind %d before any plan", transport.ErrFrame, frame.Kind)
	}
	working, give, err := s.take(ctx, frame.Generation, shard.Epoch(frame.Epoch))
	if err != nil {
		return errors.Join(err, refuse(conn, &frame, err))
	}
	defer give()
	defer s.worker.Close()
	t := conversation{server: s, conn: conn}
	return t.hold(working, &frame)
}

// conversation is one coordinator's use of the worker.
type conversation struct {
	server  *Server
	conn    transport.Conn
	samples bool // rank 0 of the last stage
	decoder engine.StepDecoder
	output  engine.Output
	out     transport.Frame
}

// hold answers frames until the connection or ctx ends, beginning with the one that was received. A goroutine listens while the worker
// works, so that the end of the connection ends the work.
func (t *conversation) hold(ctx context.Context, frame *transport.Frame) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = t.conn.Close() })()
	frames := make(chan *transport.Frame)
	free := make(chan *transport.Frame, 2) // two take turns: one is worked on while the next is received
	free <- new(transport.Frame)
	var lost error
	var listening sync.WaitGroup
	listening.Go(func() {
		defer cancel()
		defer close(frames)
		for next := range free {
			if lost = t.conn.Recv(next); lost != nil {
				return
			}
			select {
			case frames <- next:
			case <-ctx.Done():
				return
			}
		}
	})
	defer listening.Wait()
	defer t.conn.Close()
	defer close(free)
	for {
		if err := t.answer(ctx, frame); err != nil {
			return err
		}
		free <- frame
		next, ok := <-frames
		if !ok {
			return lost
		}
		frame = next
	}
}

// answer does what one frame asks for and says what came of it.
func (t *conversation) answer(ctx context.Context, frame *transport.Frame) error {
	t.out.Payload = t.out.Payload[:0]
	err := t.server.fence.Admit(frame.Generation, frame.Epoch)
	switch {
	case err != nil:
	case frame.Kind == transport.KindAssign:
		err = t.assign(ctx, frame)
	case frame.Kind == transport.KindStep:
		err = t.run(ctx, frame)
	default:
		err = fmt.Errorf("%w: kind %d", transport.ErrFrame, frame.Kind)
	}
	if err != nil {
		return errors.Join(err, refuse(t.conn, frame, err))
	}
	t.out.Header = frame.Header
	t.out.Kind = transport.KindDone
	return t.conn.Send(&t.out)
}

func (t *conversation) assign(ctx context.Context, frame *transport.Frame) error {
	var place engine.Place
	if err := json.Unmarshal(frame.Payload, &place); err != nil {
		return fmt.Errorf("%w: place: %w", transport.ErrFrame, err)
	}
	if place.Plan == nil || uint64(place.Plan.Epoch) != frame.Epoch || place.Generation != frame.Generation {
		return fmt.Errorf("%w: no plan of epoch %d in generation %d", transport.ErrFrame, frame.Epoch, frame.Generation)
	}
	t.samples = place.Rank == 0 && place.Plan.Last(place.Stage)
	return t.server.worker.Assign(ctx, place)
}

func (t *conversation) run(ctx context.Context, frame *transport.Frame) error {
	step, err := t.decoder.Decode(frame.Payload)
	if err != nil {
		return err
	}
	step.ID, step.Epoch = frame.Step, shard.Epoch(frame.Epoch)
	if !t.samples {
		return t.server.worker.Run(ctx, step, nil)
	}
	t.output.Results = t.output.Results[:0]
	if err := t.server.worker.Run(ctx, step, &t.output); err != nil {
		return err
	}
	t.out.Payload = engine.AppendOutput(t.out.Payload, &t.output)
	return nil
}

// refuse tells the coordinator why a frame's wish was not done.
func refuse(conn transport.Conn, frame *transport.Frame, why error) error {
	answer := transport.Frame{Header: frame.Header, Payload: []byte(why.Error())}
	answer.Kind = transport.KindFailed
	return conn.Send(&answer)
}
