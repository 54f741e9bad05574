package fetch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"polynode/model"
	"polynode/model/store"
	"polynode/transport"
)

// Options says how to fetch. The zero value is usable.
type Options struct {
	BytesPerSecond int64         // from all sources together; zero for no limit
	Pace           *Pace         // instead of BytesPerSecond; may be nil
	Silence        time.Duration // after which a source that gives nothing is dropped; zero for 10 s

	// Progress is told the bytes of the pieces that are here and their total, one call at a time. It may be nil.
	Progress func(done, total int64)
	// Dropped is told of each source that is not asked any more and why, one call at a time: errors.Is(err, store.ErrCorrupt) for
	// one that sent bytes that are not the model's. It may be nil.
	Dropped func(source string, err error)

	flushBytes int64  // after which what came is written down
	landed     func() // told of each unit that was put; may be nil
}

// silenceMax is how long a source may give nothing.
const silenceMax = 10 * time.Second

// flushBytes and flushEvery are how much a killed process may have to fetch again.
const (
	flushBytes = 64 << 20
	flushEvery = 5 * time.Second
)

// Get opens the model of a digest, after it has fetched what the pieces need and the folder does not have. pieces is asked once,
// with the model's shape; with nothing but its description fetched it may return none. Whatever arrived stays in the folder if Get
// fails or is stopped, and the next Get goes on from there. Errors wrap ErrUnavailable (a MissingError), store.ErrNoSpace,
// store.ErrBusy while another Get fetches this model, store.ErrCorrupt where the folder's own file is damaged, or the context's.
func Get(ctx context.Context, network transport.Network, dir *store.Dir, digest string,
	pieces func(model.Config) ([]model.Piece, error), sources []string, options Options,
) (*store.Model, error) {
	var hash store.Hash
	if err := hash.UnmarshalText([]byte(digest)); err != nil {
		return nil, fmt.Errorf("fetch model: %w", err)
	}
	if options.Silence <= 0 {
		options.Silence = silenceMax
	}
	if options.flushBytes <= 0 {
		options.flushBytes = flushBytes
	}
	g := &getter{network: network, dir: dir, digest: hash, pieces: pieces, sources: sources, options: options}
	m, err := g.local()
	if m != nil || err != nil {
		return m, err
	}
	if err := g.fetch(ctx); err != nil {
		return nil, err
	}
	return dir.Open(hash.String())
}

// getter is one call of Get.
type getter struct {
	network transport.Network
	dir     *store.Dir
	digest  store.Hash
	pieces  func(model.Config) ([]model.Piece, error)
	sources []string
	options Options
}

// local opens the model if everything that is needed is here. Otherwise it gives nothing.
func (g *getter) local() (*store.Model, error) {
	m, err := g.dir.Open(g.digest.String())
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	missing := 0
	pieces, err := g.pieces(m.Config())
	if err == nil {
		missing, err = m.Missing(pieces)
	}
	if err == nil && missing == 0 {
		return m, nil
	}
	return nil, errors.Join(err, m.Close())
}

// fetch brings what is missing.
func (g *getter) fetch(ctx context.Context) (err error) {
	p, err := g.open(ctx)
	if errors.Is(err, store.ErrWhole) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	pieces, err := g.pieces(p.Config())
	if err != nil {
		return err
	}
	j, err := newJob(p, pieces)
	if err != nil {
		return err
	}
	if err := p.CheckSpace(j.total - j.done); err != nil {
		return err
	}
	return j.run(ctx, g)
}

// open opens the partial model, and makes it if there is none.
func (g *getter) open(ctx context.Context) (*store.Partial, error) {
	p, err := g.dir.OpenPartial(g.digest)
	if !errors.Is(err, store.ErrNotFound) {
		return p, err
	}
	missing := &MissingError{Digest: g.digest.String()}
	for _, source := range g.sources {
		d, err := g.describe(ctx, source)
		if err == nil {
			return g.dir.CreatePartial(g.digest, d)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		missing.Sources = append(missing.Sources, &SourceError{source, err})
		g.drop(source, err)
	}
	return nil, missing
}

func (g *getter) drop(source string, err error) {
	if g.options.Dropped != nil {
		g.options.Dropped(source, err)
	}
}

// describe asks one source for everything but the tensors.
func (g *getter) describe(ctx context.Context, source string) (store.Description, error) {
	var d store.Description
	l, err := dial(ctx, g, source)
	if err != nil {
		return d, err
	}
	defer l.close()
	if d.Manifest, err = l.get(getManifest, store.ManifestMax); err != nil {
		return d, err
	}
	m, err := store.CheckManifest(g.digest, d.Manifest)
	if err != nil {
		return d, err
	}
	if d.Hashes, err = l.get(getHashes, m.HashesBytes()); err != nil {
		return d, err
	}
	if d.Tokenizer, err = l.get(getTokenizer, m.Tokenizer.Bytes); err != nil {
		return d, err
	}
	_, err = d.Check(g.digest)
	return d, err
}
