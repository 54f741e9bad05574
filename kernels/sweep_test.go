package kernels

import (
	"encoding/binary"
	"testing"
)

func TestSweepReadsEveryWord(t *testing.T) {
	forEachTier(t, func(t *testing.T) {
		for _, words := range []int{0, 8, 24, 32, 40, 64, 72, 136, 8 * 3000} {
			data := make([]byte, 64*(words/8)+17+1)[1:] // an odd address
			var want uint64
			for i := range words {
				word := uint64(i+1) * 0x9e3779b97f4a7c15
				binary.LittleEndian.PutUint64(data[8*i:], word)
				want ^= word
			}
			if got := Sweep(data); got != want {
				t.Errorf("%d words: got %x, want %x", words, got, want)
			}
		}
	})
}

func TestPeakCountsItsMultiplies(t *testing.T) {
	forEachTier(t, func(t *testing.T) {
		one := PeakMultiplies(1)
		if one < 1 {
			t.Fatalf("a round has %d multiplications", one)
		}
		for _, rounds := range []int{-1, 0, 2, peakCall, 3*peakCall + 5} {
			if got := PeakMultiplies(rounds); got != one*max(rounds, 0) {
				t.Errorf("%d rounds: %d multiplications, want %d", rounds, got, one*rounds)
			}
		}
	})
}

func BenchmarkSweep(b *testing.B) {
	data := make([]byte, 256<<20)
	for i := range data {
		data[i] = byte(i)
	}
	benchEachTier(b, func(b *testing.B) {
		best := bestPass(b, func() { Sweep(data) })
		b.ReportMetric(float64(len(data))/best/1e9, "best-GB/s")
	})
}

func BenchmarkPeak(b *testing.B) {
	benchEachTier(b, func(b *testing.B) {
		multiplies := PeakMultiplies(4 * peakCall)
		best := bestPass(b, func() { PeakMultiplies(4 * peakCall) })
		b.ReportMetric(float64(multiplies)/best/1e9, "best-GMAC/s")
	})
}
