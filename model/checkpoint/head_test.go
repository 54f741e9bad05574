package checkpoint

import (
	"math"
	"testing"

	"polynode/model"
)

// TestHeadVerdicts writes heads that are wte in other clothes, or not quite wte, and looks
// for the verdict, the configuration and the values.
func TestHeadVerdicts(t *testing.T) {
	spec := model.TensorSpec{Name: model.TokenEmbedding, Rows: tiny.Vocab, Cols: tiny.Embed, Matrix: true}
	same := tinyValues(0, spec)
	last := tinyValues(0, spec)
	last[len(last)-1] += 1.0 / 64
	// 0.0 and -0.0 are equal numbers but other bits: such a head is kept.
	zero := tinyValues(0, spec)
	for i, value := range zero {
		if value == 0 {
			zero[i] = float32(math.Copysign(0, -1))
		}
	}
	for _, c := range []struct {
		name   string
		kind   dtype
		values []float32
		view   bool
		tied   bool
	}{
		{"a copy", float32t, same, false, true},
		{"a copy in another type", bfloat16, same, false, true},
		{"a copy lying across", float32t, same, true, true},
		{"a copy lying across in another type", float16, same, true, true},
		{"another last value", float32t, last, false, false},
		{"another last value in another type", float16, last, false, false},
		{"another last value lying across", float32t, last, true, false},
		{"another sign of zero", float32t, zero, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			v := variant{}
			v.writeConfig(t, dir)
			head := layDown(c.kind, c.values, spec.Rows, spec.Cols, false, c.view)
			head.name, head.key = headName, "head"
			writeFile(t, dir, weightKinds[1].single, v.encode(append(v.tensors(), head)))
			opened := mustOpen(t, dir)
			if opened.Config().TiedHead != c.tied {
				t.Fatalf("tied %v, want %v", opened.Config().TiedHead, c.tied)
			}
			if !c.tied && !sameBits(readAll(t, opened, model.Head), c.values) {
				t.Error("the head has other values than were written")
			}
		})
	}
}
