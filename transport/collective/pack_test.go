package collective

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func checkPack(t *testing.T, sums []int32) {
	t.Helper()
	packed := appendPacked([]byte("before"), sums)
	if string(packed[:6]) != "before" {
		t.Fatal("what was before is gone")
	}
	packed = packed[6:]
	if len(packed) > packedMax(len(sums)) {
		t.Fatalf("%d sums take %d bytes, at most %d", len(sums), len(packed), packedMax(len(sums)))
	}
	got := make([]int32, len(sums))
	for i := range got {
		got[i] = int32(i) * 7
	}
	if err := setPacked(got, packed); err != nil || !slices.Equal(got, sums) {
		t.Fatalf("%v\ncame back as %v, %v", sums, got, err)
	}
	if err := addPacked(got, packed); err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if got[i] != 2*sums[i] {
			t.Fatalf("value %d: added %d to itself and got %d", i, sums[i], got[i])
		}
	}
	for _, wrong := range []int{len(sums) - 1, len(sums) + 1, len(sums) + packRun} {
		if wrong >= 0 {
			if err := setPacked(make([]int32, wrong), packed); !errors.Is(err, errPacked) {
				t.Fatalf("%d sums taken for %d: %v", len(sums), wrong, err)
			}
		}
	}
}

// Sums of every width and length come back bit by bit.
func TestPack(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for width := range 33 {
		for _, n := range []int{0, 1, 7, 8, 63, 64, 65, 128, 1000} {
			sums := make([]int32, n)
			for i := range sums {
				sums[i] = int32(int64(random.Uint64()) >> (64 - width))
			}
			checkPack(t, sums)
		}
	}
	checkPack(t, []int32{math.MinInt32, math.MaxInt32, 0, -1, 1})
}

// The form on the wire is this one.
func TestPackForm(t *testing.T) {
	got := appendPacked(nil, []int32{0, -1, 1, 2})
	want := make([]byte, 2+3*packRun/8)
	copy(want, []byte{4, 3, 0 | 1<<3 | 2<<6, 4 << 1}) // 4 values of 3 bits: 0, 1, 2, 4
	if !slices.Equal(got, want) {
		t.Errorf("packed %v, want %v", got, want)
	}
	if got := appendPacked(nil, []int32{1 << 16}); len(got) != 2+18*packRun/8 || got[1] != 18 || binary.LittleEndian.Uint16(got[2:]) != 0 || got[2+2*packRun] != 2 {
		t.Errorf("packed %v", got)
	}
}

func FuzzPack(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8})
	f.Fuzz(func(t *testing.T, data []byte) {
		sums := make([]int32, len(data)/4)
		for i := range sums {
			sums[i] = int32(binary.LittleEndian.Uint32(data[4*i:]))
		}
		checkPack(t, sums)
	})
}

func FuzzUnpack(f *testing.F) {
	f.Add(uint16(3), appendPacked(nil, []int32{1, -2, 3}))
	f.Add(uint16(100), appendPacked(nil, make([]int32, 100)))
	f.Add(uint16(64), []byte{40})
	f.Fuzz(func(t *testing.T, n uint16, data []byte) {
		sums := make([]int32, n)
		if err := setPacked(sums, data); err != nil {
			if !errors.Is(err, errPacked) {
				t.Fatal(err)
			}
			return
		}
		checkPack(t, sums)
	})
}

func BenchmarkPack(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, deviation := range []float64{1 << 10, 1 << 13, 1 << 16} {
		sums := make([]int32, 5120)
		for i := range sums {
			sums[i] = int32(random.NormFloat64() * deviation)
		}
		packed := appendPacked(nil, sums)
		name := fmt.Sprintf("%.2fbytes", float64(len(packed))/float64(len(sums)))
		b.Run(name+"/pack", func(b *testing.B) {
			b.SetBytes(int64(4 * len(sums)))
			for b.Loop() {
				packed = appendPacked(packed[:0], sums)
			}
		})
		b.Run(name+"/add", func(b *testing.B) {
			b.SetBytes(int64(4 * len(sums)))
			for b.Loop() {
				if err := addPacked(sums, packed); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
