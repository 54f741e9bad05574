package linkbench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"polynode/internal/relay"
)

// The shape of one token of PolyLM-13B: two exchanges in each of 40 layers.
const (
	SyncsDefault   = 80
	TokensDefault  = 16
	ComputeDefault = 2 * time.Millisecond
)

// Limits of a run.
const (
	BytesMax  = 64 << 10
	SyncsMax  = 1000
	TokensMax = 1000
)

// tokenTimeout is how long one token may take beside its computing.
const tokenTimeout = 10 * time.Second

// Options are what to measure.
type Options struct {
	Bytes   []int         // of each exchange, each way
	Syncs   int           // exchanges in a token
	Tokens  int           // tokens of each row
	Compute time.Duration // between two exchanges
	Link    relay.Link    // of the emulated network, each way
	NoPoll  bool          // let the socket's reader sleep
	Paths   []string      // which of Paths; none is all
	Over    []string      // which of Carriers; none is all
	// Command is how this program runs as "peer" or "relay".
	Command func(role string) (name string, arguments []string, err error)
}

// Row is one carrier over one path with one size.
type Row struct {
	Path       string  `json:"path"`
	Carrier    string  `json:"carrier"`
	Bytes      int     `json:"bytes"`
	Added      float64 `json:"added_ms"`      // median of what a token takes longer than its computing
	AddedBest  float64 `json:"added_best_ms"` // of the best token of each
	P50        float64 `json:"sync_p50_us"`
	P99        float64 `json:"sync_p99_us"`
	TokenBytes int64   `json:"token_bytes"` // both ways, as the carrier needs them, without headers below it
	Error      string  `json:"error,omitempty"`
}

func (r Row) String() string {
	if r.Error != "" {
		return fmt.Sprintf("%-9s %-5s %6d  %s", r.Path, r.Carrier, r.Bytes, r.Error)
	}
	return fmt.Sprintf("%-9s %-5s %6d  %9.2f %9.2f %9.0f %9.0f %12d", r.Path, r.Carrier, r.Bytes, r.Added, r.AddedBest, r.P50, r.P99, r.TokenBytes)
}

// Heading stands above rows.
const Heading = "path      over   bytes  ms/token      best   p50 µs    p99 µs  bytes/token"

// Report is the result of a run.
type Report struct {
	Syncs     int     `json:"syncs"`
	Tokens    int     `json:"tokens"`
	Computing float64 `json:"computing_ms"` // of a token without exchanges, median
	Cores     int     `json:"cores"`
	Procs     int     `json:"gomaxprocs"` // of each process
	Rows      []Row   `json:"rows"`
}

// What can be measured, in the order of the report.
var (
	Paths    = []string{"loopback", "relay"}
	Carriers = []string{"tcp", "quic", "udp"}
)

// nothing is the carrier of tokens without exchanges.
const nothing = "none"

// token is what both sides do next.
type token struct {
	Path    string
	Carrier string
	Bytes   int
	Syncs   int
	Work    int // rounds of computing between two exchanges
}

func (o *Options) check() error {
	switch {
	case o.Syncs < 1 || o.Syncs > SyncsMax || o.Tokens < 1 || o.Tokens > TokensMax || o.Compute < 0 || o.Compute > time.Second:
		return fmt.Errorf("measure link: 1 to %d exchanges, 1 to %d tokens, computing up to 1s", SyncsMax, TokensMax)
	case !subset(o.Paths, Paths) || !subset(o.Over, Carriers):
		return fmt.Errorf("measure link: paths are %v, and %v go over them", Paths, Carriers)
	case len(o.Bytes) == 0 || slices.Min(o.Bytes) < 1 || slices.Max(o.Bytes) > BytesMax:
		return fmt.Errorf("measure link: exchanges have 1 to %d bytes", BytesMax)
	}
	if len(o.Paths) == 0 {
		o.Paths = Paths
	}
	if len(o.Over) == 0 {
		o.Over = Carriers
	}
	return nil
}

func subset(some, all []string) bool {
	return !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(all, s) })
}

// Run measures and calls progress with each row.
func Run(ctx context.Context, o Options, progress func(Row)) (report Report, err error) {
	if err := o.check(); err != nil {
		return Report{}, err
	}
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	procs := shareOfCores()
	b, err := newBench(ctx, o)
	defer func() { err = errors.Join(err, b.close()) }()
	if err != nil {
		return Report{}, err
	}
	work := calibrate(o.Compute)
	report = Report{Syncs: o.Syncs, Tokens: o.Tokens, Cores: runtime.NumCPU(), Procs: procs}
	var alone []float64
	for _, size := range o.Bytes {
		for _, path := range o.Paths {
			rows, computing, err := b.measure(ctx, token{Path: path, Bytes: size, Syncs: o.Syncs, Work: work})
			if err != nil {
				return report, err
			}
			alone = append(alone, computing)
			for _, row := range rows {
				report.Rows = append(report.Rows, row)
				progress(row)
			}
		}
	}
	report.Computing = percentile(alone, 50)
	return report, nil
}

// shareOfCores leaves half of the cores to the other process.
func shareOfCores() int {
	procs := max(1, runtime.NumCPU()/2)
	runtime.GOMAXPROCS(procs)
	return procs
}

// measure lets the carriers take turns.
func (b *bench) measure(ctx context.Context, t token) (rows []Row, computing float64, err error) {
	times := map[string][]float64{}
	syncs := map[string][]float64{}
	bytes := map[string]int64{}
	failed := map[string]error{}
	for round := range b.options.Tokens + 1 {
		for _, carrier := range append([]string{nothing}, b.options.Over...) {
			if failed[carrier] != nil {
				continue
			}
			t.Carrier = carrier
			result, err := b.token(ctx, t)
			if ctx.Err() != nil {
				return nil, 0, ctx.Err()
			}
			if err != nil {
				failed[carrier] = err
				continue
			}
			if round == 0 { // warms up
				continue
			}
			times[carrier] = append(times[carrier], result.total)
			syncs[carrier] = append(syncs[carrier], result.syncs...)
			bytes[carrier] = result.bytes
		}
	}
	computing = percentile(times[nothing], 50)
	for _, carrier := range b.options.Over {
		row := Row{Path: t.Path, Carrier: carrier, Bytes: t.Bytes, TokenBytes: bytes[carrier]}
		if err := failed[carrier]; err != nil {
			row.Error = err.Error()
		} else {
			row.Added, row.AddedBest = percentile(times[carrier], 50)-computing, percentile(times[carrier], 0)-percentile(times[nothing], 0)
			row.P50, row.P99 = 1000*percentile(syncs[carrier], 50), 1000*percentile(syncs[carrier], 99)
		}
		rows = append(rows, row)
	}
	return rows, computing, nil
}

// outcome is one token on this side, in milliseconds.
type outcome struct {
	total float64
	syncs []float64
	bytes int64
}

// play does this side's part of a token.
func play(c carrier, t token) (outcome, error) {
	o := outcome{syncs: make([]float64, 0, t.Syncs)}
	c.begin()
	defer c.end()
	before := c.bytes()
	start := time.Now()
	for range t.Syncs {
		sink.Store(compute(t.Work))
		at := time.Now()
		if err := c.exchange(t.Bytes); err != nil {
			return o, err
		}
		o.syncs = append(o.syncs, milliseconds(time.Since(at)))
	}
	o.total = milliseconds(time.Since(start))
	o.bytes = c.bytes() - before
	return o, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// sink keeps the compiler from leaving the computing out.
var sink atomic.Uint64

// compute is arithmetic in registers, which nothing slows down but the loss of the core.
func compute(rounds int) uint64 {
	x := uint64(rounds)
	for range rounds {
		x = x*6364136223846793005 + 1442695040888963407
	}
	return x
}

// calibrate finds how many rounds take so long.
func calibrate(d time.Duration) int {
	const rounds = 1 << 20
	best := time.Hour
	for range 20 {
		start := time.Now()
		sink.Store(compute(rounds))
		best = min(best, time.Since(start))
	}
	return int(float64(rounds) * float64(d) / float64(best))
}

// percentile of unsorted values; 0 is the smallest.
func percentile(values []float64, p int) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}
