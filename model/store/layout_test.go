package store

import (
	"testing"

	"polynode/kernels"
	"polynode/model"
	"polynode/shard"

	"pgregory.net/rapid"
)

// drawConfig gives shapes with ragged ends everywhere.
func drawConfig(t *rapid.T) model.Config {
	heads := rapid.IntRange(1, 6).Draw(t, "heads")
	vocab := rapid.IntRange(1, 3000).Draw(t, "vocab")
	return model.Config{
		Layers: rapid.IntRange(1, 3).Draw(t, "layers"), Heads: heads,
		Embed:      heads * rapid.SampledFrom([]int{1, 8, 32, 48, 128, 256}).Draw(t, "head width"),
		Inner:      rapid.IntRange(1, 3000).Draw(t, "inner"),
		Vocab:      vocab,
		Pieces:     vocab,
		Positions:  rapid.IntRange(1, 600).Draw(t, "positions"),
		Activation: model.GELUNew, Epsilon: 1e-5, TiedHead: rapid.Bool().Draw(t, "tied"),
	}
}

// TestLayout checks that tensors lie in order, aligned and apart, and that the units of each cover each of its bytes
// exactly once.
func TestLayout(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t)
		f := rapid.SampledFrom(allFormats).Draw(t, "format")
		tensors, err := layOut(c, func(model.Name) kernels.Format { return f })
		if err != nil {
			t.Fatal(err)
		}
		end := int64(PageSize)
		for i := range tensors {
			tensor := &tensors[i]
			align := int64(plainAlign)
			if tensor.Format != Plain {
				align = PageSize
			}
			if tensor.Offset < end || tensor.Offset-end >= align || tensor.Offset%align != 0 {
				t.Fatalf("%s lies at %d, the one before ends at %d", tensor.Name, tensor.Offset, end)
			}
			end = tensor.Offset + tensor.Bytes
			checkUnits(t, tensor)
		}
	})
}

func checkUnits(t *rapid.T, tensor *Tensor) {
	covered := make([]byte, tensor.Bytes)
	for i := range tensor.Units {
		u := tensor.UnitAt(i)
		for s := range int64(u.Segments) {
			at := u.Offset + s*u.Stride - tensor.Offset
			for b := at; b < at+u.Bytes; b++ {
				covered[b]++
			}
		}
	}
	for at, n := range covered {
		if n != 1 {
			t.Fatalf("%s: byte %d is in %d units", tensor.Name, at, n)
		}
	}
}

// TestUnitsOf checks that the units of a slice are those that touch it.
func TestUnitsOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t)
		tensors, err := layOut(c, func(model.Name) kernels.Format { return kernels.Q8 })
		if err != nil {
			t.Fatal(err)
		}
		tensor := &tensors[rapid.IntRange(0, len(tensors)-1).Draw(t, "tensor")]
		slice := func(n int, name string) shard.Slice {
			lo := rapid.IntRange(0, n-1).Draw(t, name)
			return shard.Slice{Lo: lo, Hi: rapid.IntRange(lo+1, n).Draw(t, name)}
		}
		rows, k := slice(tensor.Rows, "rows"), slice(tensor.K, "columns")
		listed := map[int]bool{}
		for i := range tensor.UnitsOf(rows, k) {
			listed[i] = true
		}
		for i := range tensor.Units {
			u := tensor.UnitAt(i)
			touches := u.Rows.Lo < rows.Hi && rows.Lo < u.Rows.Hi && u.K.Lo < k.Hi && k.Lo < u.K.Hi
			if touches != listed[i] {
				t.Fatalf("%s: unit %d (%v, %v) for %v, %v: listed %v", tensor.Name, i, u.Rows, u.K, rows, k, listed[i])
			}
		}
		if len(listed) == 0 {
			t.Fatal("no unit")
		}
	})
}
