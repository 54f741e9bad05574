package kernels

import (
	"fmt"
)

// KVFormat is how the keys and values of attention are stored.
type KVFormat uint8

// The KV formats. Zero is no format.
const (
	KVF16 KVFormat = 1 // float16
	KVQ8  KVFormat = 2 // int8, with a float16 scale per group of 32 values of a head vector
	KVF32 KVFormat = 3 // float32, to compare with references
)

// Sizes of the KV cache.
const (
	BlockTokens = 16  // tokens in a block, the page of the KV cache
	KeyBlock    = 128 // keys that attention takes together, counted from position 0; a multiple of BlockTokens
	kvGroup     = 32  // values of a head vector under one scale in KVQ8
)

// String is the name users type: f16, q8 or f32.
func (f KVFormat) String() string {
	switch f {
	case KVF16:
		return "f16"
	case KVQ8:
		return "q8"
	case KVF32:
		return "f32"
	}
	return fmt.Sprintf("kvformat(%d)", uint8(f))
}

// ParseKVFormat is the inverse of String.
func ParseKVFormat(name string) (KVFormat, error) {
	switch name {
	case "f16":
		return KVF16, nil
	case "q8":
		return KVQ8, nil
	case "f32":
		return KVF32, nil
	}
	return 0, fmt.Errorf("KV format %q: want f16, q8 or f32", name)
}

// VectorBytes is the size of one stored head vector: headDim float32 or float16, or headDim int8 followed by the float16 scales
// of its groups (the last group may be shorter than 32). It is 0 for an unknown format.
func (f KVFormat) VectorBytes(headDim int) int {
	switch f {
	case KVF16:
		return 2 * headDim
	case KVQ8:
		return headDim + 2*kvGroups(headDim)
	case KVF32:
		return 4 * headDim
	}
	return 0
}

func kvGroups(headDim int) int { return (headDim + kvGroup - 1) / kvGroup }

// KVBlockBytes is the size of one block of one layer: BlockTokens keys and values of so many heads.
func KVBlockBytes(f KVFormat, heads, headDim int) int {
	return 2 * heads * BlockTokens * f.VectorBytes(headDim)
}

// KV is one layer's slab of KV blocks, laid out [block][key, value][head][token][vector]. A value is free to copy;
// the copies share Data. Writes to different (block, slot) may run at once, and so may reads of what is written.
type KV struct {
	Format         KVFormat
	Heads, HeadDim int
	Data           []byte
}

// NewKV describes a slab in data, which must be a whole number of blocks.
func NewKV(f KVFormat, heads, headDim int, data []byte) (KV, error) {
	if f.VectorBytes(1) == 0 || heads < 1 || headDim < 1 {
		return KV{}, fmt.Errorf("%w: %s KV of %d heads of %d", ErrShape, f, heads, headDim)
	}
	if size := KVBlockBytes(f, heads, headDim); len(data)%size != 0 {
		return KV{}, fmt.Errorf("%w: KV slab is %d bytes, want a multiple of %d", ErrShape, len(data), size)
	}
	return KV{Format: f, Heads: heads, HeadDim: headDim, Data: data}, nil
}

// BlockBytes is the size of one block of this slab.
func (kv *KV) BlockBytes() int { return KVBlockBytes(kv.Format, kv.Heads, kv.HeadDim) }

// Blocks is the number of blocks in the slab.
func (kv *KV) Blocks() int { return len(kv.Data) / kv.BlockBytes() }

// Which half of a block a vector is in.
const (
	keyHalf   = 0
	valueHalf = 1
)

// vectors is the bytes of the BlockTokens vectors of one head in one half of a block.
func (kv *KV) vectors(block int32, half, head int) []byte {
	size := BlockTokens * kv.Format.VectorBytes(kv.HeadDim)
	at := ((int(block)*2+half)*kv.Heads + head) * size
	return kv.Data[at : at+size : at+size]
}

// Store writes the key and value of one token, k and v (Heads, HeadDim), into a slot of a block.
//
// KVF16 rounds each value to the nearest float16, ties to even. KVQ8 takes per group scale = float16(amax/127)
// (amax as in Activations.Quantise), inv = 1/scale or 0 if that is not finite, and rounds and clamps x*inv as there.
// A value beyond the range of float16 is stored as an infinity or under an infinite scale, and a NaN as a NaN or under a NaN
// scale: attention then gives NaN, never a wrong number.
func (kv *KV) Store(block int32, slot int, k, v []float32) {
	if slot < 0 || slot >= BlockTokens {
		panic(fmt.Sprintf("kernels: store to slot %d of a KV block", slot))
	}
	d, size := kv.HeadDim, kv.Format.VectorBytes(kv.HeadDim)
	for head := range kv.Heads {
		storeVector(kv.Format, kv.vectors(block, keyHalf, head)[slot*size:(slot+1)*size], k[head*d:(head+1)*d])
		storeVector(kv.Format, kv.vectors(block, valueHalf, head)[slot*size:(slot+1)*size], v[head*d:(head+1)*d])
	}
}

// Load reads the key and value of one token back, k and v (Heads, HeadDim).
func (kv *KV) Load(block int32, slot int, k, v []float32) {
	d, size := kv.HeadDim, kv.Format.VectorBytes(kv.HeadDim)
	for head := range kv.Heads {
		loadVector(kv.Format, k[head*d:(head+1)*d], kv.vectors(block, keyHalf, head)[slot*size:(slot+1)*size])
		loadVector(kv.Format, v[head*d:(head+1)*d], kv.vectors(block, valueHalf, head)[slot*size:(slot+1)*size])
	}
}

// CopyBlock copies block src over block dst: copy-on-write of a shared block.
func (kv *KV) CopyBlock(dst, src int32) {
	size := kv.BlockBytes()
	copy(kv.Data[int(dst)*size:(int(dst)+1)*size], kv.Data[int(src)*size:(int(src)+1)*size])
}
