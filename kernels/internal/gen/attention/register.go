package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// width is the bits of a register.
var width int

// Sizes that package kernels knows by other names.
const (
	lanes      = 16        // of a sum, and elements of what the comments here call a vector
	pageTokens = 16        // kernels.BlockTokens
	scoresRow  = 4 * 128   // bytes of a row of scores: kernels.KeyBlock of them
	group      = 32        // values under one scale in Q8
	vectorSize = 4 * lanes // bytes of a vector of float32
	headDim    = 8 * lanes // the head dimension that has unrolled functions
	scaleSlots = headDim / group
)

// wide reports whether this is the AVX-512 tier.
func wide() bool { return width == 512 }

// pick chooses between what AVX-512 and AVX2 want.
func pick[T any](avx512, avx2 T) T {
	if wide() {
		return avx512
	}
	return avx2
}

// parts is the number of registers in a vector of 16 lanes.
func parts() int { return 512 / width }

// size is the bytes of a register.
func size() int { return width / 8 }

// register is a new register of float32.
func register() reg.VecVirtual {
	if wide() {
		return ZMM()
	}
	return YMM()
}

func registers(n int) []reg.VecVirtual {
	out := make([]reg.VecVirtual, n)
	for i := range out {
		out[i] = register()
	}
	return out
}

// text starts a function without a frame check.
func text(name, signature, doc string) {
	TEXT(name, attr.NOSPLIT, signature)
	Doc(name + " " + doc)
	Pragma("noescape")
}

// argument loads an integer or a pointer.
func argument(name string) reg.GPVirtual { return Load(Param(name), GP64()).(reg.GPVirtual) }

// argumentAt is the address of an argument.
func argumentAt(name string) Mem {
	b, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return b.Addr
}

// end returns from a function.
func end() {
	VZEROUPPER()
	RET()
}

func zero(r reg.VecVirtual) { VXORPS(r, r, r) }

// at is an address.
func at(base reg.Register, offset int) Mem { return Mem{Base: base, Disp: offset} }

// times is dst = a * the float32 at m in every lane.
func times(m Mem, a, dst reg.VecVirtual) {
	if wide() {
		VMULPS_BCST(m, a, dst)
		return
	}
	t := register()
	VBROADCASTSS(m, t)
	VMULPS(t, a, dst)
}

// labels gives each loop of a function a name of its own.
var labels int

func label(name string) string {
	labels++
	return fmt.Sprintf("%s%d", name, labels)
}

// loop runs body count times, count at least 1.
func loop(name string, count reg.Register, body func()) {
	l := label(name)
	Label(l)
	body()
	DECQ(count)
	JNZ(LabelRef(l))
}

// copied is a copy of a general register.
func copied(r reg.Register) reg.GPVirtual {
	c := GP64()
	MOVQ(r, c)
	return c
}

// add adds a constant to a general register.
func add(n int, r reg.Register) { ADDQ(I32(int32(n)), r) }
