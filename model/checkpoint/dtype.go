package checkpoint

import (
	"encoding/binary"
	"math"
)

// dtype is how one element of a stored tensor is written. The zero value is no type.
type dtype uint8

// The float types can hold weights; the others occur in mask buffers, which are ignored.
const (
	dtypeNone dtype = iota
	bfloat16
	float16
	float32t
	float64t
	int64t
	int32t
	int16t
	int8t
	uint8t
	bool8
)

// dtypes gives each type's name in findings, in torch and in safetensors, and its size.
var dtypes = [...]struct {
	name, torch, safetensors string
	size                     int64
}{
	bfloat16: {"bfloat16", "BFloat16Storage", "BF16", 2},
	float16:  {"float16", "HalfStorage", "F16", 2},
	float32t: {"float32", "FloatStorage", "F32", 4},
	float64t: {"float64", "DoubleStorage", "F64", 8},
	int64t:   {"int64", "LongStorage", "I64", 8},
	int32t:   {"int32", "IntStorage", "I32", 4},
	int16t:   {"int16", "ShortStorage", "I16", 2},
	int8t:    {"int8", "CharStorage", "I8", 1},
	uint8t:   {"uint8", "ByteStorage", "U8", 1},
	bool8:    {"bool", "BoolStorage", "BOOL", 1},
}

func (d dtype) String() string { return dtypes[d].name }
func (d dtype) size() int64    { return dtypes[d].size }
func (d dtype) isFloat() bool  { return d >= bfloat16 && d <= float64t }

// dtypeOfTorch finds the type of a torch storage class such as "HalfStorage".
func dtypeOfTorch(class string) (dtype, bool) {
	for d := bfloat16; int(d) < len(dtypes); d++ {
		if dtypes[d].torch == class {
			return d, true
		}
	}
	return dtypeNone, false
}

// dtypeOfSafetensors finds the type of a safetensors name such as "BF16".
func dtypeOfSafetensors(name string) (dtype, bool) {
	for d := bfloat16; int(d) < len(dtypes); d++ {
		if dtypes[d].safetensors == name {
			return d, true
		}
	}
	return dtypeNone, false
}

// decode turns little-endian elements of a float type into float32. bf16, f16 and f32 are
// exact; f64 is rounded to nearest even. src holds exactly len(dst) elements.
func (d dtype) decode(dst []float32, src []byte) {
	switch d {
	case bfloat16:
		src = src[:2*len(dst)]
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
		}
	case float16:
		src = src[:2*len(dst)]
		for i := range dst {
			dst[i] = fromHalf(binary.LittleEndian.Uint16(src[2*i:]))
		}
	case float32t:
		src = src[:4*len(dst)]
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case float64t:
		src = src[:8*len(dst)]
		for i := range dst {
			dst[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:])))
		}
	}
}

// fromHalf widens an IEEE half. The exponent and mantissa, moved into a float32's place,
// read as 2^-112 of the value, subnormals included; infinities and NaNs have their exponent
// filled up afterwards.
func fromHalf(half uint16) float32 {
	magnitude := math.Float32frombits(uint32(half&0x7fff)<<13) * 0x1p112
	bits := math.Float32bits(magnitude) | uint32(half&0x8000)<<16
	if half&0x7c00 == 0x7c00 {
		bits |= 0x7f800000
	}
	return math.Float32frombits(bits)
}
