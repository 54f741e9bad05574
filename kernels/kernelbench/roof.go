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
	for _, tier := range append(kernels.Tiers(), b.options.Tier) {
		if err := kernels.Use(tier); err != nil {
			return nil, err
		}
		b.peakGo = peakRounds()
		if len(peaks) < len(kernels.Tiers()) {
			peaks = append(peaks, Peak{tier.String(), rateOf(b.peakOps()/1e9, b.times(b.peakPass, nil).kernel)})
		}
	}
	return peaks, nil
}

// times are the seconds of passes, sorted.
type times struct{ kernel, roof []float64 }

// times runs passes of a kernel, each after one of its roof if there is one, until the time is over. The first pass of each is not counted:
// it touches memory for the first time.
func (b *bench) times(kernel, roof func()) (t times) {
	kernel()
	if roof != nil {
		roof()
	}
	for end := time.Now().Add(b.options.Time); len(t.kernel) < passesMin || time.Now().Before(end); {
		if roof != nil {
			t.roof = append(t.roof, seconds(roof))
		}
		t.kernel = append(t.kernel, seconds(kernel))
	}
	slices.Sort(t.kernel)
	slices.Sort(t.roof)
	return t
}

const passesMin = 3

// share is the kernel's speed in units of its roof's, if the roof does as many times the kernel's work.
func (t times) share(work float64) *Rate {
	kernel, roof := rateOf(1, t.kernel), rateOf(work, t.roof)
	return &Rate{kernel.Best / roof.Best, kernel.Median / roof.Median}
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
