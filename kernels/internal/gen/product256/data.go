package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// levels are kernels.q4Levels.
var levels = [16]int8{-63, -49, -39, -30, -22, -16, -10, -4, 1, 6, 11, 17, 23, 31, 40, 53}

// constants writes the data that the functions load.
func constants() {
	GLOBL("q4Levels", RODATA|NOPTR)
	for i, level := range levels {
		DATA(i, U8(int(level)+64))
	}
	constant("nibble", 0x0f0f0f0f)
	constant("ones", 0x00010001)
	constant("evenBytes", 0x00ff00ff)
	constant("excess", 0x80808080)
}

// constant writes a register full of a 32-bit number.
func constant(name string, value uint32) {
	GLOBL(name, RODATA|NOPTR)
	for at := 0; at < width; at += 4 {
		DATA(at, U32(value))
	}
}

// data is the address of a constant.
func data(name string, at int) Mem { return NewDataAddr(Symbol{Name: name, Static: true}, at) }

// broadcast loads the number of a constant into every 32-bit lane.
func broadcast(name string) reg.VecVirtual {
	r := YMM()
	VPBROADCASTD(data(name, 0), r)
	return r
}

// registers is n new registers.
func registers(n int) []reg.VecVirtual {
	all := make([]reg.VecVirtual, n)
	for i := range all {
		all[i] = YMM()
	}
	return all
}
