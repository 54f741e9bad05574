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

// Rank is one rank of a plan, in this process or behind a connection.
type Rank interface {
	// Assign makes the rank ready for its place in a plan: weights mapped, cache reserved, neighbours found. All ranks
	// of a plan are assigned at the same time. It replaces what the rank had before.
	Assign(ctx context.Context, place engine.Place) error
	// Run computes the rank's part of a step. Rank 0 of the last stage fills out, for the others it is nil. It
	// returns when the part is done or ctx is.
	Run(ctx context.Context, step *engine.Step, out *engine.Output) error
	// Close ends the rank and frees what it holds.
	Close() error
}

// Pipeline runs steps on the ranks of one plan.
type Pipeline struct {
	plan  *shard.Plan
	first seat   // runs on the caller's goroutine
	rest  []seat // each on its own
	done  chan error
	exits sync.WaitGroup
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
	cancel context.CancelFunc
	step   *engine.Step
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
	// The sampling rank runs on the caller's goroutine: in a plan of one rank nothing is handed over.
	for _, s := range seats {
		if s.sampler {
			p.first = s
		} else {
			p.rest = append(p.rest, s)
		}
	}
	p.done = make(chan error, len(p.rest))
	for i := range p.rest {
		s := &p.rest[i]
		s.steps = make(chan job)
		p.exits.Go(func() {
			for j := range s.steps {
				err := s.rank.Run(j.ctx, j.step, nil)
				if err != nil {
					j.cancel()
				}
				p.done <- err
			}
		})
	}
	return p, nil
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
func (p *Pipeline) Ranks() int { return 1 + len(p.rest) }

// Execute runs one step on every rank. The first error is returned when all ranks have ended.
func (p *Pipeline) Execute(ctx context.Context, step *engine.Step, out *engine.Output) error {
	if len(p.rest) == 0 {
		return p.first.rank.Run(ctx, step, out)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i := range p.rest {
		p.rest[i].steps <- job{ctx, cancel, step}
	}
	err := p.first.rank.Run(ctx, step, out)
	if err != nil {
		cancel()
	}
	for range p.rest {
		if other := <-p.done; other != nil && (err == nil || errors.Is(err, context.Canceled)) {
			err = other
		}
	}
	return err
}

// Close ends all ranks. No Execute may be under way.
func (p *Pipeline) Close() error {
	for _, s := range p.rest {
		close(s.steps)
	}
	p.exits.Wait()
	err := p.first.rank.Close()
	for _, s := range p.rest {
		err = errors.Join(err, s.rank.Close())
	}
	return err
}
