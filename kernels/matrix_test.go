package kernels

import (
	"errors"
	"math"
	"testing"
)

func TestFormatNames(t *testing.T) {
	for _, f := range allFormats {
		if got, err := ParseFormat(f.String()); err != nil || got != f {
			t.Errorf("%s parses as %v, %v", f, got, err)
		}
	}
	if _, err := ParseFormat("q5"); err == nil {
		t.Error("q5 parses")
	}
	if got := Format(9).String(); got != "format(9)" {
		t.Errorf("unknown format is called %q", got)
	}
}

func TestPackedSizes(t *testing.T) {
	for _, c := range []struct {
		f             Format
		rows, k, want int
	}{
		{Q4, 16, 32, 288}, {Q8, 16, 32, 544}, {BF16, 16, 32, 1024}, {F32, 16, 32, 2048}, {Q4, 1, 1, 288}, {Q4, 17, 33, 4 * 288}, {9, 16, 32, 0},
	} {
		if got := PackedBytes(c.f, c.rows, c.k); got != c.want {
			t.Errorf("%s (%d, %d) is %d bytes, want %d", c.f, c.rows, c.k, got, c.want)
		}
	}
}

func TestNewMatrixRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		f                           Format
		rows, k, leaf, exponent, by int
	}{
		"format": {9, 16, 32, 32, 0, 0}, "rows": {Q4, 0, 32, 32, 0, 0}, "k": {Q4, 16, 0, 32, 0, 0}, "leaf": {Q4, 16, 32, 48, 0, 288},
		"no leaf": {Q4, 16, 32, 0, 0, 288}, "bytes": {Q4, 16, 32, 32, 0, 287}, "exponent": {Q4, 16, 32, 32, 65, 288}, "low exponent": {Q4, 16, 32, 32, -65, 288},
	} {
		if _, err := NewMatrix(c.f, c.rows, c.k, c.leaf, c.exponent, make([]byte, c.by)); !errors.Is(err, ErrShape) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// No sum of clamped leaves leaves int32.
func TestLeafLimit(t *testing.T) {
	for _, k := range []int{1, 32, 128, 5120, 20480, 1 << 24} {
		for _, leaf := range []int{32, 128} {
			leaves := int64((k + leaf - 1) / leaf)
			if limit := int64(LeafLimit(k, leaf)); limit < 1 || limit*leaves > math.MaxInt32 {
				t.Errorf("k=%d leaf=%d: %d leaves of %d", k, leaf, leaves, limit)
			}
		}
	}
}

func TestSlices(t *testing.T) {
	m := randomMatrix(t, newRand(1), Q8, 70, 300, 64, 12, true)
	for name, c := range map[string][2]int{"low": {-16, 16}, "high": {0, 71}, "empty": {16, 16}, "lo": {8, 32}, "hi": {16, 40}} {
		if _, err := m.SliceRows(c[0], c[1]); !errors.Is(err, ErrShape) {
			t.Errorf("rows %s: error %v", name, err)
		}
	}
	for name, c := range map[string][2]int{"low": {-64, 64}, "high": {0, 301}, "empty": {64, 64}, "lo": {32, 128}, "hi": {64, 96}} {
		if _, err := m.SliceK(c[0], c[1]); !errors.Is(err, ErrShape) {
			t.Errorf("columns %s: error %v", name, err)
		}
	}
	part, err := m.SliceRows(32, 70)
	if err != nil {
		t.Fatal(err)
	}
	if part, err = part.SliceK(192, 300); err != nil {
		t.Fatal(err)
	}
	if part.Rows != 38 || part.K != 108 || part.Limit != m.Limit || part.Exponent != m.Exponent || part.Leaf != m.Leaf {
		t.Errorf("slice is %+v", part)
	}
	// The slice ends with its last block: what is behind it is out of reach.
	if want := 2*m.PanelStride + 4*Q8.BlockBytes(); len(part.Data) != want || cap(part.Data) != want {
		t.Errorf("slice has %d bytes of capacity %d, want %d", len(part.Data), cap(part.Data), want)
	}
	if &part.Panel(1)[0] != &m.Panel(3)[6*Q8.BlockBytes()] {
		t.Error("panel 1 of the slice is not panel 3 of the whole")
	}
}
