package model

import (
	"errors"
	"fmt"
	"sync/atomic"

	"polynode/kernels"
	"polynode/kernels/pool"
	"polynode/shard"
)

// ErrShare reports a share that does not fit the model.
var ErrShare = errors.New("model share")

// Stage is one rank's share of a run of layers.
type Stage struct {
	config Config
	share  Share
	source Source
	group  Group
	pool   *pool.Pool
	cache  *Cache

	wte    []kernels.Matrix // one of (Vocab, Embed), in the first stage
	wpe    []float32        // (Positions, Embed), in the first stage
	layers []layer
	head   head // in the last stage

	done atomic.Uint64 // pieces of work since the stage was made

	buffers
	tasks
}

// buffers are the values between the operations of a layer. They grow to the largest step and stay.
type buffers struct {
	normed     kernels.Activations // (T, Embed)
	attended   kernels.Activations // (T, heads*headDim)
	inner      kernels.Activations // (T, inner)
	qkv        []float32           // (T, 3*heads*headDim)
	sums       []int32             // (T, widest product)
	product    product
	attendance attendance
	scratch    chan *kernels.AttendScratch // one for each worker of the pool
}

// tasks are the row loops of a layer as the pool runs them, made once so that a step allocates nothing. They read
// the current layer, batch and residual stream.
type tasks struct {
	layer  *layer
	number int // of layer in this stage
	batch  *Batch
	hidden []float32 // (T, Embed), the residual stream
	pieces int       // of a row of inner, each a part of activate

	rows       []int32 // selected rows of hidden, for the head
	looker     Looker
	targets    []int32 // (len(rows))
	targetSums []int32 // (len(rows))

	embed, normAttention, splitQKV, attend, collectAttended          rowTask
	addAttention, activate, addFFN, normFinal, showLogits, sumTarget rowTask
}

// rowTask is a pool task made of a function of the part.
type rowTask func(part int)

// Do runs the part.
func (f rowTask) Do(part int) { f(part) }

// NewStage loads a rank's share of a model. The source, group, pool and cache stay the caller's.
func NewStage(src Source, share Share, group Group, workers *pool.Pool, cache *Cache) (*Stage, error) {
	config := src.Config()
	if err := share.validate(config); err != nil {
		return nil, err
	}
	s := &Stage{config: config, share: share, source: src, group: group, pool: workers, cache: cache}
	if err := s.load(newLoader(src), workers.Workers()); err != nil {
		return nil, err
	}
	s.scratch = make(chan *kernels.AttendScratch, workers.Workers())
	for range workers.Workers() {
		s.scratch <- new(kernels.AttendScratch)
	}
	s.makeTasks()
	s.announce()
	return s, nil
}

// load takes everything that the stage needs from the loader's source.
func (s *Stage) load(ld *loader, workers int) error {
	if s.share.First {
		s.wpe = ld.vector(PositionEmbedding)
		s.wte = ld.matrix(TokenEmbedding, shard.Slice{Hi: s.config.Vocab}, shard.Slice{Hi: s.config.Embed})
	}
	for i := s.share.Layers.Lo; i < s.share.Layers.Hi; i++ {
		s.layers = append(s.layers, ld.layer(s.config, s.share, i))
	}
	if s.share.Last {
		s.loadHead(ld, workers)
	}
	if ld.err != nil {
		return fmt.Errorf("load layers %v: %w", s.share.Layers, ld.err)
	}
	return nil
}

func (sh Share) validate(c Config) error {
	inside := func(s shard.Slice, n int) bool { return s.Lo >= 0 && s.Lo <= s.Hi && s.Hi <= n }
	switch {
	case !inside(sh.Layers, c.Layers):
		return fmt.Errorf("%w: layers %v of %d", ErrShare, sh.Layers, c.Layers)
	case !inside(sh.Heads, c.Heads):
		return fmt.Errorf("%w: heads %v of %d", ErrShare, sh.Heads, c.Heads)
	case !inside(sh.Inner, c.Inner):
		return fmt.Errorf("%w: FFN columns %v of %d", ErrShare, sh.Inner, c.Inner)
	case !inside(sh.Vocab, c.Vocab):
		return fmt.Errorf("%w: vocabulary rows %v of %d", ErrShare, sh.Vocab, c.Vocab)
	}
	return nil
}

// Config describes the whole model.
func (s *Stage) Config() Config { return s.config }

// Share is the part of the model that the stage computes.
func (s *Stage) Share() Share { return s.share }

// Clamps counts the leaves whose contribution was clamped since the stage was made; anything but zero means
// that outputs lost accuracy.
func (s *Stage) Clamps() int64 { return s.product.clamps.Load() }

// Done counts pieces of work since the stage was made: halves of layers, and weights compared with their hashes. While it moves the stage computes,
// however slowly. It may be called from any goroutine.
func (s *Stage) Done() uint64 { return s.done.Load() }
