package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// widen writes the function that copies stored vectors as float32.
func widen(f format) {
	text("Widen"+f.name, "func(dst *float32, dstStride int, src, scales *byte, srcStride, count, dim int)",
		"copies dim elements, a multiple of 16, of each of count stored vectors as float32; strides are in bytes, and scales is where the scales of the first vector's elements are.")
	dst, dstStride, src, srcStride := argument("dst"), argument("dstStride"), argument("src"), argument("srcStride")
	count, dim := argument("count"), argument("dim")
	var scales reg.GPVirtual
	if f.scaled {
		scales = argument("scales")
	}
	loop("vector", count, func() {
		from, to, left := copied(src), copied(dst), copied(dim)
		if f.scaled {
			widenGroups(f, from, to, copied(scales), left)
			ADDQ(srcStride, scales)
		} else {
			SHRQ(Imm(4), left)
			loop("part", left, func() { widenVector(f, from, to, nil) })
		}
		ADDQ(srcStride, src)
		ADDQ(dstStride, dst)
	})
	end()
}

// widenVector copies 16 elements and goes on to the next.
func widenVector(f format, from, to reg.GPVirtual, scale Op) {
	for i := range parts() {
		r := register()
		f.load(at(from, i*f.registerBytes()), scale, r)
		VMOVUPS(r, at(to, i*size()))
	}
	add(lanes*f.element, from)
	add(vectorSize, to)
}

// widenGroups copies two times 16 elements under a scale, and once 16 where that is left.
func widenGroups(f format, from, to, scales, left reg.GPVirtual) {
	groups, done := label("group"), label("done")
	Label(groups)
	scale := loadScale(at(scales, 0))
	widenVector(f, from, to, scale)
	SUBQ(Imm(lanes), left)
	JZ(LabelRef(done))
	widenVector(f, from, to, scale)
	add(2, scales)
	SUBQ(Imm(lanes), left)
	JNZ(LabelRef(groups))
	Label(done)
}
