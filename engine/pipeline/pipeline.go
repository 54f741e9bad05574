package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"polynode/engine"
	"polynode/shard"
)

// ErrPlan reports a plan whose ranks could not be taken into use.
var ErrPlan = errors.New("assign plan")

// errClosed says why nothing runs any more.
var errClosed = errors.New("pipeline closed")

// Rank is one rank of a plan, in this process or behind a connection.
type Rank interface {
	// Assign makes the rank ready for its place in a plan: weights mapped, cache reserved, neighbours found. All ranks
	// of a plan are assigned at the same time. It replaces what the rank had before.
	Assign(ctx context.Context, place engine.Place) error
	// Begin tells the rank of a step that Run will be called with. It may be called while Run is busy with an earlier one, so that the rank
	// knows what comes next when it is done. What goes wrong is told by Run as well.
	Begin(ctx context.Context, step *engine.Step) error
	// Run computes the rank's part of a step. Rank 0 of the last stage fills out, for the others it is nil. It
	// returns when the part is done or ctx is. Steps are run one after the other, in the order in which they were begun.
	Run(ctx context.Context, step *engine.Step, out *engine.Output) error
	// Close ends the rank and frees what it holds.
	Close() error
}

// Pipeline runs steps on the ranks of one plan: as many at once as the plan has stages, so that each stage has one to work on. They enter a
// stage in order, and a stage hands on what it has done as soon as the next one takes it.
type Pipeline struct {
	plan  *shard.Plan
	first seat   // in a plan of one stage it runs on the caller's goroutine
	rest  []seat // each on its own
	exits sync.WaitGroup

	flow  job       // what the jobs of all steps have in common, where there are several stages
	under []*flight // steps that were started and not waited for, the oldest first
	idle  []*flight // memory for others
}

// flight is a step under way.
type flight struct {
	step *engine.Step
	out  *engine.Output
	done chan error // of each rank; it never blocks a sender
}

var _ engine.Executor = (*Pipeline)(nil)

// seat is a rank in its place.
type seat struct {
	rank         Rank
	stage, place int
	sampler      bool // rank 0 of the last stage
	steps        chan job
}

// job is a step on its way to a rank. Whoever fails it cancels it for all.
type job struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	step   *engine.Step
	out    *engine.Output // of the rank that samples
	done   chan<- error
}

// New assigns the ranks to a plan, stage by stage in the order of ranks, and owns them from then on, also when it
// fails. The plan and what its ranks have alike are those of common, whose stage and rank do not count.
func New(ctx context.Context, common engine.Place, ranks [][]Rank) (*Pipeline, error) {
	plan := common.Plan.Clone()
	common.Plan = plan
	p := &Pipeline{plan: plan}
	var seats []seat
	for stage, group := range ranks {
		for place, rank := range group {
			seats = append(seats, seat{
				rank: rank, stage: stage, place: place,
				sampler: place == 0 && plan.Last(stage),
			})
		}
	}
	if err := assign(ctx, common, seats); err != nil {
		for _, s := range seats {
			err = errors.Join(err, s.rank.Close())
		}
		return nil, fmt.Errorf("%w: %w", ErrPlan, err)
	}
	p.open(ctx, seats)
	return p, nil
}

// open gives each rank a goroutine for its steps. In a plan of one stage the sampling rank runs on the caller's: with one rank nothing is
// handed over.
func (p *Pipeline) open(ctx context.Context, seats []seat) {
	p.flow.ctx, p.flow.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	for _, s := range seats {
		if s.sampler && p.Depth() == 1 {
			p.first = s
			continue
		}
		s.steps = make(chan job, p.Depth())
		p.rest = append(p.rest, s)
	}
	for i := range p.rest {
		s := &p.rest[i]
		p.exits.Go(func() {
			for j := range s.steps {
				err := s.run(&j)
				if err != nil {
					j.cancel(err)
				}
				j.done <- err
			}
		})
	}
}

// run runs a step on the seat's rank.
func (s *seat) run(j *job) error {
	if !s.sampler {
		return s.rank.Run(j.ctx, j.step, nil)
	}
	return s.rank.Run(j.ctx, j.step, j.out)
}

// assign readies all ranks at once, because they wait for each other.
func assign(ctx context.Context, common engine.Place, seats []seat) error {
	var count int
	for _, stage := range common.Plan.Stages {
		count += len(stage.Group)
	}
	if count == 0 || count != len(seats) {
		return fmt.Errorf("%d ranks for a plan of %d", len(seats), count)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan error, len(seats))
	for _, s := range seats {
		go func() {
			place := common
			place.Stage, place.Rank = s.stage, s.place
			err := s.rank.Assign(ctx, place)
			if err != nil {
				err = fmt.Errorf("stage %d rank %d: %w", s.stage, s.place, err)
			}
			results <- err
		}()
	}
	var first error
	for range seats {
		if err := <-results; err != nil && first == nil {
			first = err
			cancel()
		}
	}
	return first
}

// Plan is the plan that the pipeline runs.
func (p *Pipeline) Plan() *shard.Plan { return p.plan.Clone() }

// Ranks is how many ranks there are.
func (p *Pipeline) Ranks() int {
	n := 0
	for _, stage := range p.plan.Stages {
		n += len(stage.Group)
	}
	return n
}

// Close ends all ranks when the steps under way have ended. No call may be under way but Wait for such a step, and none may come afterwards but
// Wait for those that were started.
func (p *Pipeline) Close() error {
	for _, s := range p.rest {
		close(s.steps)
	}
	p.exits.Wait()
	p.flow.cancel(errClosed)
	var err error
	if p.first.rank != nil {
		err = p.first.rank.Close()
	}
	for _, s := range p.rest {
		err = errors.Join(err, s.rank.Close())
	}
	return err
}
