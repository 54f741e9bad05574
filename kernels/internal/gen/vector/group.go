package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// wide says that registers have 512 bits, and that what AVX-512 offers beside width may be used.
var wide bool

// group is 16 lanes of 32 bits, or unroll times as many: the registers or the memory that hold them, in the order of the lanes. A
// constant may be shorter; its registers then serve in turn.
type group []Op

// unroll is how many times 16 lanes the groups that are made now have. Instructions on several registers that do not wait for one
// another keep the units busy where one chain alone would not.
var unroll = 1

// perGroup is the number of registers that hold 16 lanes.
func perGroup() int {
	if wide {
		return 1
	}
	return 2
}

// registers is the number of registers in a group.
func registers() int { return perGroup() * unroll }

// register is a new register of the tier's width.
func register() reg.VecVirtual {
	if wide {
		return ZMM()
	}
	return YMM()
}

// fresh is a group in new registers.
func fresh() group {
	g := make(group, registers())
	for i := range g {
		g[i] = register()
	}
	return g
}

// same is a group with one operand in all places.
func same(op Op) group {
	g := make(group, registers())
	for i := range g {
		g[i] = op
	}
	return g
}

// elements is the group in memory that starts at element i of base, each element of so many bytes.
func elements(base, i reg.Register, size int) group {
	g := make(group, registers())
	for r := range g {
		g[r] = Mem{Base: base, Index: i, Scale: uint8(size), Disp: r * 16 / perGroup() * size}
	}
	return g
}

// each emits an instruction for every register of the groups. Operands are in Go's order: a source that may be memory, the other
// source, the destination.
func each(instruction func(...Op), operands ...group) {
	for r := range registers() {
		var ops []Op
		for _, g := range operands {
			ops = append(ops, g[r%len(g)])
		}
		instruction(ops...)
	}
}

// immediate puts a constant in front of an instruction's operands.
func immediate(value uint64, instruction func(...Op)) func(...Op) {
	return func(ops ...Op) { instruction(append([]Op{Imm(value)}, ops...)...) }
}

// blend emits dst = mask ? a : b with full-width masks (AVX2).
func blend(mask, a, b, dst group) {
	for r := range dst {
		VBLENDVPS(mask[r], a[r%len(a)], b[r], dst[r])
	}
}

// constants are the tables of the .s file by name. Most are a float32 in all lanes of a register.
var constants = map[string]Mem{}

func constant(name string, bits uint32) Mem {
	return table(name, 16/perGroup(), func(int) uint32 { return bits })
}

// table is n values in memory.
func table(name string, n int, value func(i int) uint32) Mem {
	m, ok := constants[name]
	if !ok {
		m = GLOBL(name, attributes)
		for i := range n {
			DATA(4*i, U32(value(i)))
		}
		constants[name] = m
	}
	return m
}

// operand is a float32 constant in all lanes, to be the source of an instruction that may be memory. With 32 registers it is in one.
func operand(name string, value float32) group {
	return operandBits(name, math.Float32bits(value))
}

func operandBits(name string, bits uint32) group {
	if wide {
		return loadedBits(name, bits)
	}
	return same(constant(name, bits))
}

// stored is a float32 constant in all lanes, in memory.
func stored(name string, value float32) group { return same(constant(name, math.Float32bits(value))) }

// loaded is a float32 constant in all lanes of one register.
func loaded(name string, value float32) group { return loadedBits(name, math.Float32bits(value)) }

func loadedBits(name string, bits uint32) group {
	r := register()
	VBROADCASTSS(constant(name, bits), r)
	return same(r)
}

// function begins a function with its pointers and counts in registers.
func function(name, signature, doc string, params ...string) []reg.Register {
	TEXT(name, noSplit, signature)
	Pragma("noescape")
	Doc(doc)
	var loadedParams []reg.Register
	for _, p := range params {
		loadedParams = append(loadedParams, Load(Param(p), GP64()))
	}
	return loadedParams
}

// spread is a float32 parameter in all lanes of one register.
func spread(param string) group {
	p, err := Param(param).Resolve()
	if err != nil {
		panic(err)
	}
	r := register()
	VBROADCASTSS(p.Addr, r)
	return same(r)
}

// loop emits body for i = 0, 16, 32, ... below n, which is at least 16.
func loop(label string, n reg.Register, body func(i reg.Register)) {
	i := GP64()
	XORQ(i, i)
	Label(label)
	body(i)
	ADDQ(Imm(16), i)
	CMPQ(i, n)
	JLT(LabelRef(label))
}

// unrolledLoop is loop with u times 16 elements at once while there are so many.
func unrolledLoop(n reg.Register, u int, body func(i reg.Register)) {
	if u == 1 {
		loop("loop", n, body)
		return
	}
	i, next := GP64(), GP64()
	XORQ(i, i)
	Label("many")
	LEAQ(Mem{Base: i, Disp: 16 * u}, next)
	CMPQ(next, n)
	JGT(LabelRef("few"))
	unroll = u
	body(i)
	unroll = 1
	MOVQ(next, i)
	JMP(LabelRef("many"))
	Label("few")
	CMPQ(i, n)
	JGE(LabelRef("done"))
	body(i)
	ADDQ(Imm(16), i)
	JMP(LabelRef("few"))
	Label("done")
}

// end ends a function.
func end() {
	VZEROUPPER()
	RET()
}
