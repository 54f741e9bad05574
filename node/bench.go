package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/shirou/gopsutil/v4/process"
	"golang.org/x/sync/errgroup"

	"polynode/configs"
	"polynode/engine"
	"polynode/kernels"
	"polynode/kernels/pool"
	"polynode/model/store"
	"polynode/shard"
)

// BenchOptions say what to measure.
type BenchOptions struct {
	Prompt  int   // tokens of each prompt
	Output  int   // tokens generated after each
	Batches []int // sequences that run together
	Rounds  int   // of each batch; the best is reported
}

// BenchResult is what a node of this model does on this machine.
type BenchResult struct {
	Model     string     `json:"model"`
	Synthetic bool       `json:"synthetic"`
	Format    string     `json:"format"`
	KVFormat  string     `json:"kv_format"`
	Threads   int        `json:"threads"`
	Kernels   string     `json:"kernels"`
	ReadGBs   float64    `json:"read_gb_per_s"`  // of a plain loop on the same threads, the most of all runs
	FirstMS   float64    `json:"cold_first_ms"`  // first token after the start, weights unread
	Resident  int64      `json:"resident_bytes"` // of the process at the end
	StoreSize int64      `json:"store_bytes"`    // of the packed model
	Runs      []BenchRun `json:"runs"`
}

// BenchRun is one batch.
type BenchRun struct {
	Sequences int     `json:"sequences"`
	Prompt    int     `json:"prompt_tokens"` // of each sequence
	Output    int     `json:"output_tokens"` // of each sequence
	Prefill   float64 `json:"prefill_tokens_per_s"`
	Decode    float64 `json:"decode_tokens_per_s"` // of all sequences together
	FirstMS   float64 `json:"first_token_ms"`
	ReadGBs   float64 `json:"read_gb_per_s"`        // of a plain loop around each round, the median
	ReadShare float64 `json:"decode_share_of_read"` // bytes of weights, keys and values that a decoding step reads, over time, over that of the loop; the median
}

// Bench measures the node. Nobody else should be using it.
func (n *Node) Bench(ctx context.Context, options BenchOptions, each func(BenchRun)) (BenchResult, error) {
	result := BenchResult{
		Model: n.info.Model, Synthetic: n.info.Synthetic, Format: n.info.Format, KVFormat: n.info.KVFormat,
		Threads: n.info.Threads, Kernels: n.info.Kernels, StoreSize: n.serving().model.Size(),
	}
	start := time.Now()
	if _, err := n.benchRun(ctx, BenchOptions{Prompt: 1, Output: 1}, 1, 0); err != nil {
		return result, err
	}
	result.FirstMS = milliseconds(time.Since(start))
	sweep, err := n.newSweep()
	if err != nil {
		return result, err
	}
	for _, sequences := range options.Batches {
		best, err := n.benchBatch(ctx, options, sequences, sweep)
		if err != nil {
			return result, err
		}
		result.ReadGBs = max(result.ReadGBs, best.ReadGBs)
		result.Runs = append(result.Runs, best)
		each(best)
	}
	if self, err := process.NewProcess(int32(os.Getpid())); err == nil {
		if memory, err := self.MemoryInfo(); err == nil {
			result.Resident = int64(memory.RSS)
		}
	}
	return result, nil
}

// benchBatch runs one batch some times and keeps the best speeds. Machines are shared and memory is twice as fast in one minute as in
// the next, so the read bandwidth is measured around each round, and of the rounds' shares of it the median is kept.
func (n *Node) benchBatch(ctx context.Context, options BenchOptions, sequences int, sweep *sweepTask) (BenchRun, error) {
	var best BenchRun
	var reads, shares []float64
	before := sweep.measure()
	for round := range max(options.Rounds, 1) {
		run, err := n.benchRun(ctx, options, sequences, round+1)
		if err != nil {
			return best, err
		}
		after := sweep.measure()
		read := (before + after) / 2e9
		before = after
		context := options.Prompt + options.Output/2
		step := float64(n.matrixBytes() + int64(sequences*context)*n.kvTokenBytes())
		reads = append(reads, read)
		shares = append(shares, run.Decode/float64(sequences)*step/1e9/read)
		best.Sequences, best.Prompt, best.Output = run.Sequences, run.Prompt, run.Output
		best.Prefill, best.Decode = max(best.Prefill, run.Prefill), max(best.Decode, run.Decode)
		if best.FirstMS == 0 || run.FirstMS < best.FirstMS {
			best.FirstMS = run.FirstMS
		}
	}
	best.ReadGBs, best.ReadShare = median(reads), median(shares)
	return best, nil
}

// median is the middle one of some values, or the mean of the middle two.
func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// kvTokenBytes is what a decoding step reads of the keys and values for each token of context.
func (n *Node) kvTokenBytes() int64 {
	config := n.serving().model.Config()
	format, err := kernels.ParseKVFormat(n.info.KVFormat)
	if err != nil {
		return 0
	}
	return int64(config.Layers * kernels.KVBlockBytes(format, config.Heads, config.HeadDim()) / kernels.BlockTokens)
}

// matrixBytes is what a decoding step reads of the weights: every matrix once.
func (n *Node) matrixBytes() int64 {
	var sum int64
	manifest := n.serving().model.Manifest()
	for i := range manifest.Tensors {
		if t := &manifest.Tensors[i]; t.Format != store.Plain {
			sum += t.Bytes
		}
	}
	return sum
}

// benchRun runs one batch. Prompts differ from round to round, so that no prefix is remembered.
func (n *Node) benchRun(ctx context.Context, options BenchOptions, sequences, round int) (BenchRun, error) {
	start := time.Now()
	handles := make([]*engine.Handle, sequences)
	for i := range handles {
		prompt := make([]int32, options.Prompt)
		for j := range prompt {
			prompt[j] = int32((j*7919 + i*104729 + round*1299709 + 11) % n.serving().model.Config().Pieces)
		}
		handle, err := n.serving().engine.Submit(engine.Request{ID: fmt.Sprintf("bench-%d-%d", round, i), Prompt: prompt, MaxTokens: options.Output})
		if err != nil {
			return BenchRun{}, err
		}
		handles[i] = handle
	}
	times := make([][]time.Duration, sequences)
	var following errgroup.Group
	for i, handle := range handles {
		following.Go(func() (err error) {
			times[i], err = follow(ctx, handle, start)
			return err
		})
	}
	if err := following.Wait(); err != nil {
		return BenchRun{}, err
	}
	return summarise(options, times), nil
}

// summarise turns the times at which each sequence's tokens came into speeds. Decoding counts from when all prompts
// are through.
func summarise(options BenchOptions, times [][]time.Duration) BenchRun {
	run := BenchRun{Sequences: len(times), Prompt: options.Prompt, Output: options.Output}
	var through, end time.Duration
	for _, t := range times {
		if first := milliseconds(t[0]); run.FirstMS == 0 || first < run.FirstMS {
			run.FirstMS = first
		}
		through, end = max(through, t[0]), max(end, t[len(t)-1])
	}
	run.Prefill = float64(len(times)*options.Prompt) / through.Seconds()
	decoded := 0
	for _, t := range times {
		for _, at := range t {
			if at > through {
				decoded++
			}
		}
	}
	if decoded > 0 {
		run.Decode = float64(decoded) / (end - through).Seconds()
	}
	return run
}

// follow reads a request to its end and tells when each of its tokens came.
func follow(ctx context.Context, handle *engine.Handle, start time.Time) ([]time.Duration, error) {
	var times []time.Duration
	for {
		event, err := handle.Next(ctx)
		if errors.Is(err, io.EOF) && len(times) > 0 {
			return times, nil
		}
		if err != nil {
			return nil, err
		}
		if event.Token >= 0 {
			times = append(times, time.Since(start))
		}
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// sweepTask reads memory with the plain loop, on the pool's threads.
type sweepTask struct {
	pool *pool.Pool
	runs [][]byte // what there is to read
	size int
}

// sweepLeast is how much there must be to read, more than any cache holds.
const sweepLeast = 256 << 20

// newSweep reads the node's own weights, which lie in the pages that decoding reads, or memory of its own if the model is small.
func (n *Node) newSweep() (*sweepTask, error) {
	s := &sweepTask{pool: n.pool}
	manifest := n.serving().model.Manifest()
	for i := range manifest.Tensors {
		t := &manifest.Tensors[i]
		if t.Format == store.Plain {
			continue
		}
		m, err := n.serving().model.Matrix(t.Name, shard.Slice{Hi: t.Rows}, shard.Slice{Hi: t.K})
		if err != nil {
			return nil, fmt.Errorf("find weights to read: %w", err)
		}
		s.add(m.Data)
	}
	if s.size < sweepLeast {
		data := make([]byte, sweepLeast)
		for i := 0; i < len(data); i += 4096 {
			data[i] = byte(i >> 12) // so that every page is a page of its own
		}
		s.add(data)
	}
	return s, nil
}

// add cuts data into runs, one for each part.
func (s *sweepTask) add(data []byte) {
	const run = 2 << 20
	s.size += len(data)
	for ; len(data) > run; data = data[run:] {
		s.runs = append(s.runs, data[:run])
	}
	s.runs = append(s.runs, data)
}

// measure is how many bytes a second the threads read together, the best of a few passes.
func (s *sweepTask) measure() float64 {
	best := 0.0
	for range 3 {
		start := time.Now()
		s.pool.Run(len(s.runs), s)
		best = max(best, float64(s.size)/time.Since(start).Seconds())
	}
	return best
}

// Do reads one part.
func (s *sweepTask) Do(part int) { kernels.Sweep(s.runs[part]) }

// String is a line for people.
func (r BenchRun) String() string {
	return fmt.Sprintf("%2d sequences of %d+%d tokens: prefill %8.1f tokens/s, decode %7.2f tokens/s, first token %7.0f ms, %3.0f %% of %.1f GB/s",
		r.Sequences, r.Prompt, r.Output, r.Prefill, r.Decode, r.FirstMS, 100*r.ReadShare, r.ReadGBs)
}

// String is a line for people.
func (r BenchResult) String() string {
	return fmt.Sprintf("read bandwidth %.1f GB/s, first token after the start %.0f ms, %s resident for a store of %s",
		r.ReadGBs, r.FirstMS, configs.Bytes(r.Resident), configs.Bytes(r.StoreSize))
}
