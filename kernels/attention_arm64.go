package kernels

import "polynode/kernels/internal/neon"

// Limits of one call, which cannot be preempted: 5 to 10 microseconds each on a Cortex-A76 at 2.4 GHz, counted and not measured.
const (
	dotsTiles    = 4
	softmaxRows  = 32
	callHeads    = 16
	combineParts = 64 // of all rows together
)

// activeAttention is what the active tier brings to attention, nil for nothing.
func activeAttention() *attendTier {
	if active == Generic {
		return nil
	}
	return &attentionNEON
}

var attentionNEON = attendTier{
	keys:    [kvFormats]keysFunc{KVF16: neon.KeysF16, KVQ8: neon.KeysQ8, KVF32: neon.KeysF32},
	keys128: [kvFormats]keysFunc{KVF16: neon.KeysF16, KVQ8: neon.KeysQ8, KVF32: neon.KeysF32},
	values: []valuesChunk{
		{64, [kvFormats]valuesFunc{KVF16: neon.ValuesF16x64, KVQ8: neon.ValuesQ8x64, KVF32: neon.ValuesF32x64}},
		{16, [kvFormats]valuesFunc{KVF16: neon.ValuesF16x16, KVQ8: neon.ValuesQ8x16, KVF32: neon.ValuesF32x16}},
	},
	widen: [kvFormats]widenFunc{KVF16: neon.WidenF16, KVQ8: neon.WidenQ8, KVF32: neon.WidenF32},
	turn:  [kvFormats]turnFunc{KVF16: neon.TurnF16, KVQ8: neon.TurnQ8, KVF32: neon.TurnF32},
	dots:  neon.Dots,
	mix: []mixTile{
		{4, neon.Mix4x32, neon.Mix4x16}, {2, neon.Mix2x32, neon.Mix2x16}, {1, neon.Mix1x32, neon.Mix1x16},
	},
	softmax: neon.Softmax,
	combine: neon.Combine,
}
