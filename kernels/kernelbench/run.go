package kernelbench

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"time"

	"polynode/kernels"
	"polynode/kernels/pool"
)

// ErrOptions reports options that cannot be measured.
var ErrOptions = errors.New("kernel benchmark options")

// Options say what to measure and how.
type Options struct {
	Threads int            // workers of the pool; 0 is one for each core
	Tier    kernels.Tier   // 0 is the active one
	Time    time.Duration  // for one figure, its roof included; at least three passes of each are made
	Bytes   int            // of the buffer that weights and keys lie in
	Only    *regexp.Regexp // names of the rows to measure; nil is all
}

// The limits of Options.
const (
	ThreadsMax = 1024
	BytesMin   = 1 << 20
	BytesMax   = 64 << 30
)

// Report is everything that was measured. Its JSON only grows: names keep their meaning.
type Report struct {
	Tier    string `json:"tier"`
	Threads int    `json:"threads"`
	Arch    string `json:"arch"`
	Bytes   int    `json:"buffer_bytes"`
	Read    Rate   `json:"read_gb_per_s"` // of a plain loop over the buffer
	Peaks   []Peak `json:"peaks"`         // of every tier of this machine
	Rows    []Row  `json:"rows"`
}

// Rate is how fast passes were.
type Rate struct {
	Best   float64 `json:"best"`
	Median float64 `json:"median"`
}

// Peak is how fast a tier multiplies 8-bit numbers and adds them, from registers. A multiply-add is two operations.
type Peak struct {
	Tier string `json:"tier"`
	GOPs Rate   `json:"gop_per_s"`
}

// Row is one kernel in one shape. What does not apply is absent.
type Row struct {
	Name    string `json:"name"` // kind/format/shape; the vector kernels have no format
	Kind    string `json:"kind"` // gemv, gemm, attention or vector
	Format  string `json:"format,omitempty"`
	Outputs int    `json:"outputs,omitempty"` // rows of the weights
	Inputs  int    `json:"inputs,omitempty"`  // columns of the weights, or length of the vector
	Columns int    `json:"columns,omitempty"` // tokens multiplied together
	Context int    `json:"context,omitempty"` // keys of the sequence
	Passes  int    `json:"passes"`

	GBs  *Rate `json:"gb_per_s,omitempty"`       // bytes of weights or of keys and values
	GOPs *Rate `json:"gop_per_s,omitempty"`      // two for each multiply-add
	Each *Rate `json:"ns_per_element,omitempty"` // on one thread
	Read *Rate `json:"read_share,omitempty"`     // GB/s in units of the read loop's between the passes
	Peak *Rate `json:"peak_share,omitempty"`     // GOP/s in units of the multiply loop's between the passes
}

// bench is what the cases share.
type bench struct {
	options Options
	pool    *pool.Pool
	buffer  buffer
	peakGo  int     // rounds of PeakMultiplies that take a pass
	peak    float64 // operations a second of the best such pass
}

// Run measures. It calls roofs when it has these and each with every row as it comes, and ends early with ctx's error.
func Run(ctx context.Context, options Options, roofs func(Report), each func(Row)) (report Report, err error) {
	if options.Threads == 0 {
		options.Threads = pool.ThisMachine().Cores()
	}
	if options.Threads < 1 || options.Threads > ThreadsMax || options.Bytes < BytesMin || options.Bytes > BytesMax || options.Time <= 0 {
		return report, fmt.Errorf("%w: %d threads, a buffer of %d bytes, %v for each figure", ErrOptions, options.Threads, options.Bytes, options.Time)
	}
	before := kernels.Active()
	defer func() { err = errors.Join(err, kernels.Use(before)) }()
	if options.Tier == 0 {
		options.Tier = before
	}
	if err := kernels.Use(options.Tier); err != nil {
		return report, err
	}
	// As in a node, Go keeps a processor for everything that is no kernel.
	if procs := runtime.GOMAXPROCS(0); procs <= options.Threads {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(options.Threads + 1))
	}
	b := &bench{options: options, pool: pool.NewOn(pool.ThisMachine(), options.Threads)}
	defer b.pool.Close()
	b.buffer = newBuffer(b.pool, options.Bytes)
	report = Report{Tier: options.Tier.String(), Threads: options.Threads, Arch: runtime.GOARCH, Bytes: options.Bytes}
	report.Read = b.read()
	if report.Peaks, err = b.peaks(); err != nil {
		return report, err
	}
	roofs(report)
	for _, c := range b.cases() {
		if options.Only != nil && !options.Only.MatchString(c.row.Name) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return report, err
		}
		row, err := c.measure(c.row)
		if err != nil {
			return report, fmt.Errorf("measure %s: %w", c.row.Name, err)
		}
		report.Rows = append(report.Rows, row)
		each(row)
	}
	return report, nil
}

// aCase is one row and how to measure it.
type aCase struct {
	row     Row
	measure func(Row) (Row, error)
}

// cases are all rows, in the order of the table.
func (b *bench) cases() (all []aCase) {
	all = append(all, b.gemvCases()...)
	all = append(all, b.gemmCases()...)
	all = append(all, b.attentionCases()...)
	return append(all, b.vectorCases()...)
}
