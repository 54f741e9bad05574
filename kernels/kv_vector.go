package kernels

import (
	"encoding/binary"
	"math"
)

// storeVector writes a head vector in format f; the rules are those of KV.Store.
func storeVector(f KVFormat, dst []byte, src []float32) {
	switch f {
	case KVF32:
		for i, x := range src {
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(x))
		}
	case KVF16:
		for i := leadStoreHalves(dst, src); i < len(src); i++ {
			binary.LittleEndian.PutUint16(dst[2*i:], F32ToF16(src[i]))
		}
	case KVQ8:
		scales := dst[len(src):]
		done := leadStoreGroups(dst, scales, src)
		dst, scales, src = dst[done*kvGroup:], scales[2*done:], src[done*kvGroup:]
		for len(src) > 0 {
			n := min(kvGroup, len(src))
			storeGroup(dst[:n], scales, src[:n])
			dst, scales, src = dst[n:], scales[2:], src[n:]
		}
	}
}

// storeGroup quantises the values under one scale.
func storeGroup(dst, scale []byte, src []float32) {
	half := F32ToF16(maxAbs(src) / 127)
	binary.LittleEndian.PutUint16(scale, half)
	inv := finiteInverse(F16ToF32(half))
	for i, x := range src {
		dst[i] = byte(roundQuant(float32(x * inv)))
	}
}

// loadVector widens a stored head vector; in KVQ8 each value is float32(int8)*scale, rounded once.
func loadVector(f KVFormat, dst []float32, src []byte) {
	switch f {
	case KVF32:
		src = src[:4*len(dst)]
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case KVF16:
		done := leadLoadHalves(dst, src)
		loadHalves(dst[done:], src[2*done:])
	case KVQ8:
		scales := src[len(dst):]
		done := leadLoadGroups(dst, src, scales)
		dst, src, scales = dst[done*kvGroup:], src[done*kvGroup:], scales[2*done:]
		for len(dst) > 0 {
			n := min(kvGroup, len(dst))
			scale := F16ToF32(binary.LittleEndian.Uint16(scales))
			group := dst[:n]
			for i, q := range src[:n] {
				group[i] = float32(int8(q)) * scale
			}
			dst, scales, src = dst[n:], scales[2:], src[n:]
		}
	}
}

// loadHalves widens float16 values, four at a time while none of them is infinite or NaN. Sign and magnitude of every second
// one are moved to where a float32 has them, in both halves of a 64-bit word; what is left is the exponent's bias (see F16ToF32).
func loadHalves(dst []float32, src []byte) {
	const (
		signs, magnitudes   = 0x0000800000008000, 0x00007fff00007fff
		exponents, overflow = 0x7c007c007c007c00, 0x0400040004000400
	)
	i := 0
	for ; i+4 <= len(dst); i += 4 {
		from := (*[8]byte)(src[2*i : 2*i+8 : 2*i+8])
		to := (*[4]float32)(dst[i : i+4 : i+4])
		v := binary.LittleEndian.Uint64(from[:])
		if (v&exponents+overflow)&0x8000800080008000 != 0 {
			for j := range to {
				to[j] = F16ToF32(uint16(v >> (16 * j)))
			}
			continue
		}
		even := v&signs<<16 | v&magnitudes<<13
		v >>= 16
		odd := v&signs<<16 | v&magnitudes<<13
		to[0] = math.Float32frombits(uint32(even)) * 0x1p112
		to[1] = math.Float32frombits(uint32(odd)) * 0x1p112
		to[2] = math.Float32frombits(uint32(even>>32)) * 0x1p112
		to[3] = math.Float32frombits(uint32(odd>>32)) * 0x1p112
	}
	for ; i < len(dst); i++ {
		dst[i] = F16ToF32(binary.LittleEndian.Uint16(src[2*i:]))
	}
}
