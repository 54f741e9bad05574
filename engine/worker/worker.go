package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"polynode/engine"
	"polynode/kernels"
	"polynode/kernels/pool"
	"polynode/model"
	"polynode/shard"
	"polynode/transport"
	"polynode/transport/collective"
)

// Errors of a worker.
var (
	ErrEpoch = errors.New("step of another epoch") // the step belongs to a plan that this rank does not follow
	ErrIdle  = errors.New("no plan assigned")
	ErrFault = errors.New("weights cannot be read any more: their file was cut or its disk failed")
)

// Options are what a worker is made of. Network, Pool and what Open returns stay the caller's.
type Options struct {
	Node        shard.NodeID
	Open        func(digest string) (model.Source, error)
	Network     transport.Network
	Pool        *pool.Pool
	Fault       func()        // told of an ErrFault; may be nil
	StepTimeout time.Duration // a step that waits longer than this for a neighbour fails
	// Arrange, if not nil, is told before a plan's first step whether this rank shares matrices with others, and that it does not any
	// more when the plan ends.
	Arrange func(sharing bool)
}

// Worker is one rank of a plan.
type Worker struct {
	options Options
	source  model.Source
	epoch   shard.Epoch
	links   *collective.Links
	stage   *model.Stage
	shown   atomic.Pointer[model.Stage] // stage, for whoever looks while the rank works
	cache   *model.Cache
	sampler *sampler

	batch  model.Batch
	hidden []float32 // (T, Embed), the residual stream

	usage    usage
	marks    marks // of the step that runs
	progress progress
}

// New makes a worker without a plan.
func New(options Options) *Worker { return &Worker{options: options} }

// Assign takes the rank's place in a plan. See pipeline.Rank.
func (w *Worker) Assign(ctx context.Context, place engine.Place) error {
	if err := w.Close(); err != nil {
		return err
	}
	if err := guarded(func() error { return w.assign(ctx, place) }); err != nil {
		err = errors.Join(err, w.Close())
		w.progress.failed(place.Plan.Epoch, err)
		return err
	}
	return nil
}

func (w *Worker) assign(ctx context.Context, place engine.Place) error {
	share, err := model.ShareOf(place.Plan, place.Stage, place.Rank)
	if err != nil {
		return err
	}
	if w.source, err = w.options.Open(place.Plan.Model); err != nil {
		return err
	}
	format, err := kernels.ParseKVFormat(place.KVFormat)
	if err != nil {
		return err
	}
	if w.cache, err = model.NewCache(w.source.Config(), share, format, place.Blocks); err != nil {
		return fmt.Errorf("reserve cache: %w", err)
	}
	if w.links, err = collective.Join(ctx, w.options.Network, place.Generation, place.Plan, w.options.Node); err != nil {
		return err
	}
	if w.stage, err = model.NewStage(w.source, share, w.links.Group(), w.options.Pool, w.cache); err != nil {
		return err
	}
	w.arrange(w.links.Group().Size() > 1)
	w.shown.Store(w.stage)
	w.progress.place(place.Plan.Epoch, w.stage, w.links)
	w.epoch = place.Plan.Epoch
	w.sampler = newSampler(w.stage, w.links.Group(), w.options.Pool)
	return nil
}

// Close frees the rank's cache and ends its links.
func (w *Worker) Close() error {
	links := w.links
	w.shown.Store(nil)
	w.progress.place(0, nil, nil)
	w.stage, w.cache, w.links = nil, nil, nil
	if links == nil {
		return nil
	}
	w.arrange(false)
	return links.Close()
}

// Clamps counts the leaves of matrix products whose contribution was clamped; see model.Stage. It may be called from any goroutine.
func (w *Worker) Clamps() int64 {
	stage := w.shown.Load()
	if stage == nil {
		return 0
	}
	return stage.Clamps()
}

// Begin does nothing: a rank in this process gets its steps from Run. See pipeline.Rank.
func (w *Worker) Begin(context.Context, *engine.Step) error { return nil }

// Run computes one step. See pipeline.Rank. A step that fails ends the links, so that no other rank waits for this one.
func (w *Worker) Run(ctx context.Context, step *engine.Step, out *engine.Output) error {
	if w.stage == nil {
		return ErrIdle
	}
	if step.Epoch != w.epoch {
		return fmt.Errorf("%w: %d, this rank is in %d", ErrEpoch, step.Epoch, w.epoch)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	begun := time.Now()
	w.progress.begin(step.ID)
	w.links.Begin(step.ID, begun.Add(w.options.StepTimeout))
	if !w.alone() {
		// Whoever waits for a peer notices nothing else. The step may have ended before this runs, and the rank been given back.
		links := w.links
		defer context.AfterFunc(ctx, func() { _ = links.Close() })()
		if network, ok := w.options.Network.(transport.Hurrier); ok && mayPoll() {
			network.Hurry()
			defer network.Relax()
		}
	}
	before := w.links.Traffic()
	w.marks[0] = w.mark()
	err := guarded(func() error { return w.run(step, out) })
	w.progress.end(err)
	if err != nil {
		if errors.Is(err, ErrFault) && w.options.Fault != nil {
			w.options.Fault()
		}
		w.usage.note(step, time.Since(begun), w.links.Traffic().Minus(before), nil)
		return errors.Join(err, w.links.Close())
	}
	w.marks[3] = w.mark()
	w.usage.note(step, time.Since(begun), w.links.Traffic().Minus(before), &w.marks)
	return nil
}

func (w *Worker) arrange(sharing bool) {
	if w.options.Arrange != nil {
		w.options.Arrange(sharing)
	}
}

// mayPoll reports whether the network may be polled in a step: where Go has more processors than there are cores, the poller would take one
// from computing threads, and everybody waits longer than a sleeping one takes to wake up. Where it has no more, a poller runs when a
// computing thread waits.
func mayPoll() bool { return runtime.GOMAXPROCS(0) <= runtime.NumCPU() }

// alone reports whether the rank is the only one of its plan.
func (w *Worker) alone() bool { return w.links == nil || w.links.Peers() == 0 }

// guarded does work with an error for weights that can be read no more: they are mapped, so a file that somebody cut or a disk that
// failed faults in the middle of it. Any other panic goes on.
func guarded(work func() error) (err error) {
	previous := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(previous)
		if v := recover(); v != nil {
			cause, _ := v.(error)
			var fault interface{ Addr() uintptr }
			if !errors.As(cause, &fault) {
				panic(v)
			}
			err = fmt.Errorf("%w at %#x", ErrFault, fault.Addr())
		}
	}()
	return work()
}

func (w *Worker) run(step *engine.Step, out *engine.Output) error {
	for _, c := range step.Copies {
		if err := w.cache.Copy(c.Target, c.Source); err != nil {
			return err
		}
	}
	w.batch.Reset()
	for i := range step.Chunks {
		c := &step.Chunks[i]
		w.batch.Append(c.Tokens, c.Start, c.Blocks)
	}
	embed := w.source.Config().Embed
	w.hidden = grow(w.hidden, w.batch.Rows()*embed)
	share := w.stage.Share()
	if share.First {
		if err := w.stage.Embed(&w.batch, w.hidden); err != nil {
			return err
		}
	} else if err := w.links.Recv(w.hidden); err != nil {
		return err
	}
	w.marks[1] = w.mark()
	if err := w.stage.Forward(&w.batch, w.hidden); err != nil {
		return err
	}
	w.marks[2] = w.mark()
	if !share.Last {
		return w.links.Send(w.hidden)
	}
	return w.sampler.run(step, w.hidden, out)
}

// grow returns a slice of n elements, in s's memory if that is large enough.
func grow[E any](s []E, n int) []E {
	if cap(s) >= n {
		return s[:n]
	}
	return make([]E, n)
}
