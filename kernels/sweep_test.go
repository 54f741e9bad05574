package kernels

import (
	"encoding/binary"
	"testing"
)

func TestSweepReadsEveryWord(t *testing.T) {
	data := make([]byte, 64*5+17)
	var want uint64
	for i := range 40 {
		word := uint64(i+1) * 0x9e3779b97f4a7c15
		binary.LittleEndian.PutUint64(data[8*i:], word)
		want ^= word
	}
	if got := Sweep(data); got != want {
		t.Errorf("got %x, want %x", got, want)
	}
}

func BenchmarkSweep(b *testing.B) {
	data := make([]byte, 256<<20)
	for i := range data {
		data[i] = byte(i)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		Sweep(data)
	}
}
