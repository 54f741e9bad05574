package kernels

import (
	"flag"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

var benchThreads = flag.Int("kernels.threads", 1, "threads of BenchmarkMulPanels")

// The weights of BenchmarkMulPanels: far more than the caches hold, in panels of (16, benchK).
const (
	benchBytes = 512 << 20
	benchK     = 5120
)

// BenchmarkMulPanels walks through a large matrix with 1 to 512 columns. Every pass is one run of panels on each thread, and is followed by
// a pass of Sweep over the run after it, with the same threads. It reports
//
//	GMAC/s  multiply-adds of the best pass
//	peak    the same as a share of PeakMultiplies on the same threads
//	GB/s    weights read in the median pass
//	read    the same as a share of Sweep's median pass
func BenchmarkMulPanels(b *testing.B) {
	data := benchData()
	threads := *benchThreads
	benchEachTier(b, func(b *testing.B) {
		for _, f := range allFormats {
			for _, tokens := range []int{1, 2, 3, 4, 5, 6, 8, 16, 32, 128, 512} {
				b.Run(fmt.Sprintf("format=%s/t=%d", f, tokens), func(b *testing.B) { benchProduct(b, data, f, tokens, threads) })
			}
		}
	})
}

// benchData is a buffer of any weights; as scales, its bytes are finite and small.
func benchData() []byte {
	data := make([]byte, benchBytes)
	rng := newRand(1)
	const pattern = 1 << 20
	for i := 0; i < pattern; i += 2 {
		v := rng.Uint32()
		data[i], data[i+1] = byte(v), byte(v>>8&0xbf|0x20) // an exponent that is neither 0 nor 31
	}
	for at := pattern; at < len(data); at += pattern {
		copy(data[at:], data[:pattern])
	}
	return data
}

func benchPeak(threads int) float64 {
	const rounds = 1000 * peakCall // some milliseconds, beside which the start of a goroutine is nothing
	best := 0.0
	for range 10 {
		seconds := inThreads(threads, func(int) { PeakMultiplies(rounds) })
		best = max(best, float64(threads*PeakMultiplies(rounds))/seconds/1e9)
	}
	return best
}

// inThreads runs do(0) … do(n-1) at once and returns the seconds until the last has returned.
func inThreads(n int, do func(i int)) float64 {
	var wait sync.WaitGroup
	start := time.Now()
	for i := 1; i < n; i++ {
		wait.Go(func() { do(i) })
	}
	do(0)
	wait.Wait()
	return time.Since(start).Seconds()
}

func benchProduct(b *testing.B, data []byte, f Format, tokens, threads int) {
	panel := PackedBytes(f, PanelRows, benchK)
	run := min(max(4096/tokens, 16), 512) // of each thread, a millisecond and more
	each := run * threads
	panels := len(data) / panel / each * each
	m, err := NewMatrix(f, panels*PanelRows, benchK, 128, -20, data[:panels*panel])
	if err != nil {
		b.Fatal(err)
	}
	rng := newRand(2)
	x := activations(tokens, benchK, 128, func() float32 { return float32(rng.NormFloat64()) })
	var products, sweeps []float64
	at := 0
	next := func() int {
		if at += each; at+each > panels {
			at = 0
		}
		return at
	}
	out := make([]int32, tokens*each*PanelRows)
	peak := benchPeak(threads)
	b.ResetTimer()
	for b.Loop() {
		lo := next()
		part, err := m.SliceRows(lo*PanelRows, (lo+each)*PanelRows)
		if err != nil {
			b.Fatal(err)
		}
		products = append(products, inThreads(threads, func(i int) {
			MulPanels(out, part.Rows, &part, x, i*run, (i+1)*run)
		}))
		lo = next()
		sweeps = append(sweeps, inThreads(threads, func(i int) {
			Sweep(data[(lo+i*run)*panel : (lo+(i+1)*run)*panel])
		}))
	}
	slices.Sort(products)
	slices.Sort(sweeps)
	gmac := float64(each*PanelRows*benchK*tokens) / products[0] / 1e9
	median := products[len(products)/2]
	b.ReportMetric(gmac, "GMAC/s")
	b.ReportMetric(gmac/peak, "peak")
	b.ReportMetric(float64(each*panel)/median/1e9, "GB/s")
	b.ReportMetric(sweeps[len(sweeps)/2]/median, "read")
	runtime.KeepAlive(data)
}
