package kernels

import (
	"polynode/kernels/internal/avx2"
	"polynode/kernels/internal/avx512"
)

// Limits of one call, which cannot be preempted.
const (
	dotsTiles    = 16
	softmaxRows  = 64
	callHeads    = 16
	combineParts = 512 // of all rows together
)

// activeAttention is what the active tier brings to attention, nil for nothing.
func activeAttention() *attendTier {
	switch active {
	case AVX512:
		return &attention512
	case AVX2:
		return &attention256
	}
	return nil
}

// AVX-512's wide conversion of float16 is so slow that AVX2's is ahead where the scores' tree adds to it (18 cycles a key, not 22).
var attention512 = attendTier{
	keys:    [kvFormats]keysFunc{KVF16: avx512.KeysF16, KVQ8: avx512.KeysQ8, KVF32: avx512.KeysF32},
	keys128: [kvFormats]keysFunc{KVF16: avx2.KeysF16x128, KVQ8: avx512.KeysQ8x128, KVF32: avx512.KeysF32x128},
	values: []valuesChunk{
		{128, [kvFormats]valuesFunc{KVF16: avx512.ValuesF16x128, KVQ8: avx512.ValuesQ8x128, KVF32: avx512.ValuesF32x128}},
		{64, [kvFormats]valuesFunc{KVF16: avx512.ValuesF16x64, KVQ8: avx512.ValuesQ8x64, KVF32: avx512.ValuesF32x64}},
		{16, [kvFormats]valuesFunc{KVF16: avx512.ValuesF16x16, KVQ8: avx512.ValuesQ8x16, KVF32: avx512.ValuesF32x16}},
	},
	widen: [kvFormats]widenFunc{KVF16: avx512.WidenF16, KVQ8: avx512.WidenQ8, KVF32: avx512.WidenF32},
	turn:  [kvFormats]turnFunc{KVF16: avx2.TurnF16, KVQ8: avx512.TurnQ8, KVF32: avx512.TurnF32},
	dots:  avx512.Dots,
	mix: []mixTile{
		{8, avx512.Mix8x32, avx512.Mix8x16}, {4, avx512.Mix4x32, avx512.Mix4x16},
		{2, avx512.Mix2x32, avx512.Mix2x16}, {1, avx512.Mix1x32, avx512.Mix1x16},
	},
	softmax: avx512.Softmax,
	combine: avx512.Combine,
	fetch:   avx512.Prefetch,
}

var attention256 = attendTier{
	keys:    [kvFormats]keysFunc{KVF16: avx2.KeysF16, KVQ8: avx2.KeysQ8, KVF32: avx2.KeysF32},
	keys128: [kvFormats]keysFunc{KVF16: avx2.KeysF16x128, KVQ8: avx2.KeysQ8x128, KVF32: avx2.KeysF32x128},
	values: []valuesChunk{
		{64, [kvFormats]valuesFunc{KVF16: avx2.ValuesF16x64, KVQ8: avx2.ValuesQ8x64, KVF32: avx2.ValuesF32x64}},
		{16, [kvFormats]valuesFunc{KVF16: avx2.ValuesF16x16, KVQ8: avx2.ValuesQ8x16, KVF32: avx2.ValuesF32x16}},
	},
	widen: [kvFormats]widenFunc{KVF16: avx2.WidenF16, KVQ8: avx2.WidenQ8, KVF32: avx2.WidenF32},
	turn:  [kvFormats]turnFunc{KVF16: avx2.TurnF16, KVQ8: avx2.TurnQ8, KVF32: avx2.TurnF32},
	dots:  avx2.Dots,
	mix: []mixTile{
		{4, avx2.Mix4x32, avx2.Mix4x16}, {2, avx2.Mix2x32, avx2.Mix2x16}, {1, avx2.Mix1x32, avx2.Mix1x16},
	},
	softmax: avx2.Softmax,
	combine: avx2.Combine,
	fetch:   avx2.Prefetch,
}
