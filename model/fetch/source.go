package fetch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"polynode/model/store"
	"polynode/transport"
)

// What a source is asked for at a time: so much that it takes about a quarter of a second, so that a slow source never holds much.
const (
	batchFirst = 128 << 10 // bytes
	batchLeast = 16 << 10
	batchTime  = 250 * time.Millisecond
	triesMax   = 3                      // connections in a row that gave nothing
	retryWait  = 250 * time.Millisecond // before the second one, and twice as long each time after
)

// exhaust asks one source for as long as it can help.
func (j *job) exhaust(ctx context.Context, cancel context.CancelFunc, source string) {
	for try := 1; ; try++ {
		s := session{job: j, source: source}
		err := s.run(ctx)
		var disk *diskError
		switch {
		case err == nil || ctx.Err() != nil:
			return
		case errors.As(err, &disk):
			j.fail(disk.error)
			cancel()
			return
		}
		if s.gave {
			try = 0
		}
		if !worthRetrying(err) || try >= triesMax {
			j.drop(source, err)
			return
		}
		select {
		case <-time.After(retryWait << try / 2):
		case <-ctx.Done():
			return
		}
	}
}

// worthRetrying tells a connection that broke from a source that misbehaves.
func worthRetrying(err error) bool {
	return errors.Is(err, transport.ErrPeerGone) || errors.Is(err, transport.ErrUnreachable)
}

// diskError is a failure on this side, which no other source could mend.
type diskError struct{ error }

// session is one connection to a source.
type session struct {
	*job
	source  string
	link    *link
	has     *store.UnitSet
	budget  int64     // bytes of the next request
	pending []request // under way
	begun   []byte    // of the next unit, whose other bytes come in the next frame
	gave    bool      // whether a unit came
}

// request is a batch of units under way, in order.
type request struct {
	id      uint64
	numbers []int // that have not come yet
	at      time.Time
}

// run asks for units until there are none left for this source. Units that were asked for and did not come go back.
func (s *session) run(ctx context.Context) error {
	l, err := dial(ctx, s.g, s.source)
	if err != nil {
		return err
	}
	defer l.close()
	defer s.forget()
	s.link, s.budget = l, batchFirst
	count := s.p.Units().Count()
	bits, err := l.get(getPresent, int64(store.BitsBytes(count)))
	if err != nil {
		return err
	}
	if s.has, err = store.ParseBits(bits, count); err != nil {
		return fmt.Errorf("%w: %w", errMessage, err)
	}
	for ctx.Err() == nil {
		more, err := s.fill(ctx)
		if err != nil || !more {
			return err
		}
		if err := s.receive(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// forget gives back what did not come.
func (s *session) forget() {
	for _, r := range s.pending {
		s.giveBack(r.numbers)
	}
	s.pending = nil
}

// fill sees to it that requests are under way. It gives false if there is nothing left for this source.
func (s *session) fill(ctx context.Context) (bool, error) {
	for len(s.pending) < s.depth() {
		numbers, wait := s.take(s.has, s.most())
		if len(numbers) > 0 {
			if err := s.ask(ctx, numbers); err != nil {
				return false, err
			}
			continue
		}
		if len(s.pending) > 0 {
			return true, nil
		}
		if wait == nil {
			return false, s.leave()
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	return true, nil
}

// depth is how many requests may be under way: from a source that is slow even with the smallest, one.
func (s *session) depth() int {
	if s.budget <= batchLeast {
		return 1
	}
	return requestsMax
}

// most is how many bytes the next request may ask for.
func (s *session) most() int64 {
	if s.limiter.Limit() == rate.Inf {
		return s.budget
	}
	return min(s.budget, int64(s.limiter.Burst()))
}

// leave notes that the source is of no more use, if anything is missing still.
func (s *session) leave() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) > 0 {
		return errNothing
	}
	return nil
}

// ask sends a request for the units.
func (s *session) ask(ctx context.Context, numbers []int) error {
	s.pending = append(s.pending, request{numbers: numbers, at: time.Now()})
	r := &s.pending[len(s.pending)-1]
	bytes := 0
	for _, number := range numbers {
		u, err := s.p.Units().Unit(number)
		if err != nil {
			return err
		}
		bytes += int(u.Size())
	}
	if err := pace(ctx, s.limiter, bytes); err != nil {
		return err
	}
	r.at = time.Now()
	var err error
	r.id, err = s.link.ask(getUnits, spansOf(numbers))
	return err
}

// receive takes one frame of the oldest request and stores what is in it.
func (s *session) receive() error {
	r := &s.pending[0]
	data, more, err := s.link.answer(r.id)
	if err != nil {
		return err
	}
	if more && len(data) == 0 {
		return fmt.Errorf("%w: a frame without a unit", errMessage)
	}
	if err := s.store(r, data); err != nil {
		return err
	}
	s.progress()
	if more {
		return nil
	}
	if len(r.numbers) > 0 || len(s.begun) > 0 {
		return fmt.Errorf("%w: less than was asked for", errMessage)
	}
	s.adapt(time.Since(r.at))
	s.pending = s.pending[1:]
	return nil
}

// store puts the units that are complete with these bytes, and keeps the beginning of the next one.
func (s *session) store(r *request, data []byte) error {
	for len(data) > 0 {
		if len(r.numbers) == 0 {
			return fmt.Errorf("%w: more than was asked for", errMessage)
		}
		u, err := s.p.Units().Unit(r.numbers[0])
		if err != nil {
			return err
		}
		unit := data[:min(len(data), int(u.Size())-len(s.begun))]
		data = data[len(unit):]
		if len(s.begun) > 0 || int64(len(unit)) < u.Size() {
			s.begun = append(s.begun, unit...)
			unit = s.begun
		}
		if int64(len(unit)) < u.Size() {
			return nil
		}
		if err := s.put(r.numbers[0], unit); err != nil {
			if !errors.Is(err, store.ErrCorrupt) {
				err = &diskError{err}
			}
			return err
		}
		s.gave, s.begun = true, s.begun[:0]
		r.numbers = r.numbers[1:]
	}
	return nil
}

// adapt sets the size of the next request by how long the last one took.
func (s *session) adapt(took time.Duration) {
	switch {
	case took < batchTime/2:
		s.budget = min(2*s.budget, batchMax)
	case took > 2*batchTime:
		s.budget = max(int64(float64(s.budget)*float64(batchTime)/float64(took)), batchLeast)
	}
}
