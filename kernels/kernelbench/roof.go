package kernelbench

import (
	"encoding/binary"
	"slices"
	"time"

	"polynode/kernels"
	"polynode/kernels/pool"
)

// buffer is where weights and keys lie. Its bytes are any numbers, finite and small as float16, bfloat16 and float32.
type buffer struct {
	data []byte
	at   int
}

func newBuffer(workers *pool.Pool, size int) buffer {
	fill := &fillTask{data: make([]byte, size), parts: 16 * workers.Workers()}
	workers.Run(fill.parts, fill)
	return buffer{data: fill.data}
}

// next is the n bytes, or the whole buffer, behind those of the call before.
func (b *buffer) next(n int) []byte {
	n = min(n, len(b.data))
	if b.at+n > len(b.data) {
		b.at = 0
	}
	part := b.data[b.at : b.at+n]
	b.at += (n + 63) &^ 63
	return part
}

type fillTask struct {
	data  []byte
	parts int
}

// Do fills one part. The upper byte of every pair is an exponent that is neither all zeros nor all ones.
func (f *fillTask) Do(part int) {
	lo, hi := pool.Split(len(f.data)/8, f.parts, part)
	x := uint64(part)*0x9e3779b97f4a7c15 + 1
	for data := f.data[8*lo : 8*hi]; len(data) >= 8; data = data[8:] {
		x ^= x << 13 // xorshift64 (Marsaglia 2003)
		x ^= x >> 7
		x ^= x << 17
		binary.LittleEndian.PutUint64(data, x&0xbfffbfffbfffbfff|0x2000200020002000)
	}
}

// sweepTask is the plain read loop.
type sweepTask struct {
	data  []byte
	parts int
}

// Do reads one part.
func (s *sweepTask) Do(part int) {
	lo, hi := pool.Split(len(s.data)/64, s.parts, part)
	kernels.Sweep(s.data[64*lo : 64*hi])
}

// sweep reads n bytes, cut like a product.
func (b *bench) sweep(n int) {
	s := &sweepTask{data: b.buffer.next(n), parts: partsPerWorker * b.pool.Workers()}
	b.pool.Run(s.parts, s)
}

// peakTask is the multiply-add loop: one part for each worker.
type peakTask int

// Do runs so many rounds.
func (p peakTask) Do(int) { kernels.PeakMultiplies(int(p)) }

// passTime is about how long a pass is: so short that a neighbour hits a kernel and its roof alike, and so long that the start of the
// threads does not show.
const passTime = 5 * time.Millisecond

// peakRounds finds how many rounds of the active tier take a pass.
func peakRounds() int {
	for rounds := 1024; ; rounds *= 2 {
		if seconds(func() { kernels.PeakMultiplies(rounds) }) > passTime.Seconds() {
			return rounds
		}
	}
}

// peakPass runs the multiply loop on all threads.
func (b *bench) peakPass() { b.pool.Run(b.pool.Workers(), peakTask(b.peakGo)) }

// peakOps is the operations of one peakPass.
func (b *bench) peakOps() float64 {
	return 2 * float64(b.pool.Workers()) * float64(kernels.PeakMultiplies(1)) * float64(b.peakGo)
}

// read measures the read loop over the whole buffer, a few times.
func (b *bench) read() Rate {
	times := b.times(func() { b.sweep(len(b.buffer.data)) }, nil)
	return rateOf(float64(len(b.buffer.data))/1e9, times.kernel)
}

// peaks measures the multiply-adds of every tier, and leaves the kernels on the tier of the options.
func (b *bench) peaks() (peaks []Peak, err error) {
	for _, tier := range kernels.Tiers() {
		rate, err := b.peakOf(tier)
		if err != nil {
			return nil, err
		}
		peaks = append(peaks, Peak{tier.String(), rate})
	}
	rate, err := b.peakOf(b.options.Tier)
	b.peak = rate.Best * 1e9
	return peaks, err
}

// peakOf measures the multiply-adds of a tier, and leaves the kernels on it.
func (b *bench) peakOf(tier kernels.Tier) (Rate, error) {
	if err := kernels.Use(tier); err != nil {
		return Rate{}, err
	}
	b.peakGo = peakRounds()
	return rateOf(b.peakOps()/1e9, b.times(b.peakPass, nil).kernel), nil
}

// times are the seconds of passes, and of each the roof's in units of the kernel's; all sorted.
type times struct{ kernel, roof, share []float64 }

// times runs passes of a kernel, each after one of its roof if there is one, until the time is over. The first pass of each is not counted:
// it touches memory for the first time.
func (b *bench) times(kernel, roof func()) (t times) {
	kernel()
	if roof != nil {
		roof()
	}
	for end := time.Now().Add(b.options.Time); len(t.kernel) < passesMin || time.Now().Before(end); {
		least := 0.0
		if roof != nil {
			least = seconds(roof)
		}
		took := seconds(kernel)
		t.kernel, t.roof, t.share = append(t.kernel, took), append(t.roof, least), append(t.share, least/took)
	}
	slices.Sort(t.kernel)
	slices.Sort(t.roof)
	slices.Sort(t.share)
	return t
}

const passesMin = 3

// shareOf is the kernel's speed in units of its roof's: of the best passes of both, where the roof's is not below least, and the median
// over pairs of neighbouring passes. A roof's pass does work times the work of a kernel's; least is in kernel's passes a second.
func (t times) shareOf(work, least float64) *Rate {
	return &Rate{1 / t.kernel[0] / max(work/t.roof[0], least), t.share[len(t.share)/2] / work}
}

// rateOf is the work over the least and over the median of sorted seconds.
func rateOf(work float64, sorted []float64) Rate {
	return Rate{work / sorted[0], work / sorted[len(sorted)/2]}
}

func seconds(do func()) float64 {
	start := time.Now()
	do()
	return max(time.Since(start).Seconds(), 1e-9)
}
