package fetch

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"polynode/model"
	"polynode/model/store"
)

// job is the fetching of some units: which are still to be asked for, and from whom they came.
type job struct {
	p       *store.Partial
	g       *getter
	limiter *rate.Limiter
	flush   chan struct{} // has room for one
	total   int64         // bytes of the pieces

	mu        sync.Mutex
	queue     []int         // units that nobody was asked for, in the order of their use
	asked     int           // units that somebody was asked for
	changed   chan struct{} // closed and replaced when either changes in a way that may concern others
	failures  []*SourceError
	fatal     error // the disk or the context: nothing can go on
	done      int64 // bytes that are here
	unflushed int64

	telling sync.Mutex // held while a callback runs
}

// newJob finds what is missing of the pieces.
func newJob(p *store.Partial, pieces []model.Piece) (*job, error) {
	numbers, err := p.Units().Of(pieces)
	if err != nil {
		return nil, err
	}
	j := &job{p: p, flush: make(chan struct{}, 1), changed: make(chan struct{})}
	for _, number := range numbers {
		u, err := p.Units().Unit(number)
		if err != nil {
			return nil, err
		}
		j.total += u.Size()
		if p.Has(number) {
			j.done += u.Size()
		} else {
			j.queue = append(j.queue, number)
		}
	}
	return j, nil
}

// run fetches everything, from all sources at once.
func (j *job) run(ctx context.Context, g *getter) error {
	j.g, j.limiter = g, limiterOf(g.options.Pace, g.options.BytesPerSecond)
	j.tell(j.done)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var askers, flusher sync.WaitGroup
	flusher.Go(func() { j.flushes(ctx, cancel) })
	if len(j.queue) > 0 {
		for _, source := range g.sources {
			askers.Go(func() { j.exhaust(ctx, cancel, source) })
		}
	}
	askers.Wait()
	err := ctx.Err()
	cancel()
	flusher.Wait()
	return j.outcome(err)
}

// outcome is how the job ended.
func (j *job) outcome(stopped error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.fatal != nil:
		return j.fatal
	case len(j.queue) == 0 && j.asked == 0:
		return nil
	case stopped != nil:
		return stopped
	}
	missing := &MissingError{Digest: j.g.digest.String(), Units: len(j.queue), Sources: j.failures}
	for i, number := range j.queue {
		u, err := j.p.Units().Unit(number)
		if err != nil {
			return err
		}
		if i == 0 {
			missing.Tensor, missing.Rows, missing.K = u.Tensor, u.Rows, u.K
		}
		missing.Bytes += u.Size()
	}
	return missing
}

// flushes writes down what has come, from time to time.
func (j *job) flushes(ctx context.Context, cancel context.CancelFunc) {
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	for {
		select {
		case <-j.flush:
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if err := j.p.Flush(); err != nil {
			j.fail(err)
			cancel()
			return
		}
	}
}

// fail ends the job for a reason that no other source can help with.
func (j *job) fail(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fatal == nil {
		j.fatal = err
	}
}

// take gives the next units to ask a source for, in ascending order and at most budget bytes unless it is one. With none, it
// gives a channel to wait on, or nothing if the source can go: it has nothing that could still be asked for.
func (j *job) take(has *store.UnitSet, budget int64) (numbers []int, wait <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	bytes, last := int64(0), -1
	for i := 0; i < len(j.queue); i++ {
		number := j.queue[i]
		if !has.Has(number) {
			continue
		}
		u, err := j.p.Units().Unit(number)
		if err != nil || len(numbers) > 0 && bytes+u.Size() > budget || len(numbers) == spansMax {
			break
		}
		bytes += u.Size()
		numbers = append(numbers, number)
		j.queue[i], last = -1, i
	}
	if len(numbers) == 0 {
		if j.asked == 0 {
			return nil, nil
		}
		return nil, j.changed
	}
	if last == len(numbers)-1 { // from the front, as ever with a source that has everything
		j.queue = j.queue[len(numbers):]
	} else {
		j.queue = slices.DeleteFunc(j.queue, func(n int) bool { return n < 0 })
	}
	j.asked += len(numbers)
	slices.Sort(numbers)
	return numbers, nil
}

// giveBack returns units that a source was asked for and did not give.
func (j *job) giveBack(numbers []int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.queue = append(slices.Clone(numbers), j.queue...)
	j.asked -= len(numbers)
	j.wake()
}

// wake lets those look again who wait. The caller holds mu.
func (j *job) wake() {
	close(j.changed)
	j.changed = make(chan struct{})
}

// put stores one unit that came.
func (j *job) put(number int, data []byte) error {
	if err := j.p.Put(number, data); err != nil {
		return err
	}
	j.mu.Lock()
	j.done += int64(len(data))
	j.unflushed += int64(len(data))
	full := j.unflushed >= j.g.options.flushBytes
	if full {
		j.unflushed = 0
	}
	if j.asked--; j.asked == 0 {
		j.wake()
	}
	j.mu.Unlock()
	if j.g.options.landed != nil {
		j.g.options.landed()
	}
	if full {
		select {
		case j.flush <- struct{}{}:
		default:
		}
	}
	return nil
}

// progress tells how far the job is.
func (j *job) progress() {
	j.mu.Lock()
	done := j.done
	j.mu.Unlock()
	j.tell(done)
}

func (j *job) tell(done int64) {
	if j.g.options.Progress != nil {
		j.telling.Lock()
		defer j.telling.Unlock()
		j.g.options.Progress(done, j.total)
	}
}

// drop gives a source up.
func (j *job) drop(source string, err error) {
	j.mu.Lock()
	j.failures = append(j.failures, &SourceError{source, err})
	j.mu.Unlock()
	j.telling.Lock()
	defer j.telling.Unlock()
	j.g.drop(source, err)
}

// errNothing is why a source could not help that has none of what is missing.
var errNothing = errors.New("has none of the missing parts")
