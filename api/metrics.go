package api

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"polynode/engine"
)

// metrics is what the API itself counts. Labels are routes, which are constants, and statuses.
type metrics struct {
	requests      *prometheus.CounterVec
	duration      *prometheus.HistogramVec
	firstToken    prometheus.Histogram
	betweenTokens prometheus.Histogram
	promptTokens  prometheus.Counter
	outputTokens  prometheus.Counter
	brokenStreams prometheus.Counter
	handler       http.Handler
}

// newMetrics registers the API's metrics and a reader of the engine's.
func newMetrics(registry *prometheus.Registry, e *engine.Engine, model Model) (*metrics, error) {
	if registry == nil {
		registry = prometheus.NewRegistry()
	}
	waits := prometheus.ExponentialBuckets(0.005, 2, 16) // 5 ms to 164 s
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "polynode_http_requests_total", Help: "Answered HTTP requests by route and status; 499 is a client that left.",
		}, []string{"route", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "polynode_http_request_duration_seconds", Help: "Time from a request's header to the end of its answer.", Buckets: waits,
		}, []string{"route"}),
		firstToken: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "polynode_time_to_first_token_seconds", Help: "Time from submission to a choice's first token, queue included.", Buckets: waits,
		}),
		betweenTokens: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "polynode_inter_token_seconds", Help: "Time between a choice's tokens.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}),
		promptTokens: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "polynode_prompt_tokens_total", Help: "Tokens of accepted prompts.",
		}),
		outputTokens: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "polynode_output_tokens_total", Help: "Tokens that became part of answers.",
		}),
		brokenStreams: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "polynode_broken_streams_total", Help: "Streams that ended with an error or whose client left.",
		}),
		handler: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "polynode_model_info", Help: "Always 1; the labels say which model is served.",
		ConstLabels: prometheus.Labels{"model": model.ID, "synthetic": strconv.FormatBool(model.Synthetic), "digest": shortDigest(model.Digest)},
	})
	info.Set(1)
	for _, c := range []prometheus.Collector{
		m.requests, m.duration, m.firstToken, m.betweenTokens, m.promptTokens, m.outputTokens, m.brokenStreams, info, engineCollector{e},
	} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// answered counts one request.
func (m *metrics) answered(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.duration.WithLabelValues(route).Observe(took.Seconds())
}

// engineStats is the engine's state as JSON.
type engineStats struct {
	Waiting     int     `json:"waiting"`
	Running     int     `json:"running"`
	Sequences   int     `json:"sequences"`
	Blocks      int     `json:"kv_blocks"`
	BlocksUsed  int     `json:"kv_blocks_used"`
	BlockTokens int     `json:"block_tokens"`
	Steps       uint64  `json:"steps"`
	Prompt      uint64  `json:"prompt_tokens"`
	Cached      uint64  `json:"cached_tokens"`
	Output      uint64  `json:"output_tokens"`
	Preemptions uint64  `json:"preemptions"`
	PerSecond   float64 `json:"tokens_per_second"`
	StepSeconds float64 `json:"last_step_seconds"`
}

func statsOf(s engine.Stats) engineStats {
	return engineStats{
		Waiting: s.Waiting, Running: s.Running, Sequences: s.Sequences,
		Blocks: s.BlocksTotal, BlocksUsed: s.BlocksTotal - s.BlocksFree, BlockTokens: engine.BlockTokens,
		Steps: s.Steps, Prompt: s.PromptTokens, Cached: s.CachedTokens, Output: s.OutputTokens, Preemptions: s.Preemptions,
		PerSecond: s.TokensPerSecond, StepSeconds: s.StepDuration.Seconds(),
	}
}

// engineCollector reads the engine's figures when they are asked for.
type engineCollector struct{ engine *engine.Engine }

// figure is one of the engine's figures.
type figure struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*engine.Stats) float64
}

// figures are all of them.
var figures = []figure{
	gauge("requests_waiting", "Requests in the queue.", func(s *engine.Stats) float64 { return float64(s.Waiting) }),
	gauge("waiting_prompt_tokens", "Prompt tokens of the requests in the queue.", func(s *engine.Stats) float64 { return float64(s.WaitingTokens) }),
	gauge("requests_running", "Requests that have blocks.", func(s *engine.Stats) float64 { return float64(s.Running) }),
	gauge("sequences_running", "Sequences of the running requests.", func(s *engine.Stats) float64 { return float64(s.Sequences) }),
	gauge("kv_blocks", "Blocks of keys and values that there are.", func(s *engine.Stats) float64 { return float64(s.BlocksTotal) }),
	gauge("kv_blocks_used", "Blocks of keys and values in use.", func(s *engine.Stats) float64 { return float64(s.BlocksTotal - s.BlocksFree) }),
	gauge("kv_blocks_cached", "Unused blocks whose tokens may come again.", func(s *engine.Stats) float64 { return float64(s.BlocksCached) }),
	counter("requests_submitted_total", "Requests that the engine accepted.", func(s *engine.Stats) uint64 { return s.Submitted }),
	counter("requests_refused_total", "Requests that the engine refused.", func(s *engine.Stats) uint64 { return s.Refused }),
	counter("requests_cancelled_total", "Requests whose client left.", func(s *engine.Stats) uint64 { return s.Cancelled }),
	counter("requests_failed_total", "Requests that failed.", func(s *engine.Stats) uint64 { return s.Failed }),
	counter("steps_total", "Steps that were executed.", func(s *engine.Stats) uint64 { return s.Steps }),
	counter("step_errors_total", "Steps that failed.", func(s *engine.Stats) uint64 { return s.StepErrors }),
	counter("computed_tokens_total", "Tokens computed, prompts and replays included.", func(s *engine.Stats) uint64 { return s.StepTokens }),
	counter("cached_tokens_total", "Prompt tokens that the prefix cache saved.", func(s *engine.Stats) uint64 { return s.CachedTokens }),
	counter("sampled_tokens_total", "Tokens sampled, also those of discarded candidates.", func(s *engine.Stats) uint64 { return s.OutputTokens }),
	counter("preemptions_total", "Requests that lost their blocks for a while.", func(s *engine.Stats) uint64 { return s.Preemptions }),
}

func gauge(name, help string, value func(*engine.Stats) float64) figure {
	return figure{prometheus.NewDesc("polynode_"+name, help, nil, nil), prometheus.GaugeValue, value}
}

func counter(name, help string, value func(*engine.Stats) uint64) figure {
	return figure{prometheus.NewDesc("polynode_"+name, help, nil, nil), prometheus.CounterValue,
		func(s *engine.Stats) float64 { return float64(value(s)) }}
}

// Describe implements prometheus.Collector.
func (c engineCollector) Describe(to chan<- *prometheus.Desc) {
	for _, f := range figures {
		to <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (c engineCollector) Collect(to chan<- prometheus.Metric) {
	s := c.engine.Stats()
	for _, f := range figures {
		to <- prometheus.MustNewConstMetric(f.desc, f.kind, f.value(&s))
	}
}

// meter is an executor that measures another.
type meter struct {
	next     engine.Executor
	duration prometheus.Histogram
	tokens   prometheus.Histogram
	under    []metered // steps under way, the oldest first
}

// metered is a step under way.
type metered struct {
	begun  time.Time
	tokens int
}

// MeterSteps returns an executor that runs steps on x and adds their durations and sizes to a registry, which should be that of
// Config. It is for the engine's owner to put between engine and x.
func MeterSteps(x engine.Executor, registry *prometheus.Registry) (engine.Executor, error) {
	m := &meter{
		next: x,
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "polynode_step_seconds", Help: "Time that a step took.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}),
		tokens: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "polynode_step_tokens", Help: "Tokens that a step computed.", Buckets: prometheus.ExponentialBuckets(1, 2, 13),
		}),
	}
	for _, c := range []prometheus.Collector{m.duration, m.tokens} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Depth implements engine.Executor.
func (m *meter) Depth() int { return m.next.Depth() }

// Start implements engine.Executor.
func (m *meter) Start(ctx context.Context, step *engine.Step, out *engine.Output) {
	tokens := 0
	for i := range step.Chunks {
		tokens += len(step.Chunks[i].Tokens)
	}
	m.under = append(m.under, metered{time.Now(), tokens})
	m.next.Start(ctx, step, out)
}

// Wait implements engine.Executor.
func (m *meter) Wait(ctx context.Context) error {
	err := m.next.Wait(ctx)
	m.duration.Observe(time.Since(m.under[0].begun).Seconds())
	m.tokens.Observe(float64(m.under[0].tokens))
	m.under = slices.Delete(m.under, 0, 1)
	return err
}
