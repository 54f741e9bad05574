package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// turn writes the function that widens the keys of a page and turns them, so that a register of the result has one element of many
// keys.
func turn(f format) {
	text("Turn"+f.name, "func(dst *float32, src, scales *byte, vector, dim int)",
		"sets dst (dim, 16) to element d of the page's key j in row d and column j; vector is the bytes from one key to the next.")
	w := &turnWriter{f: f, dst: argument("dst"), src: argument("src"), vector: argument("vector")}
	dim := argument("dim")
	if f.scaled {
		w.scales = argument("scales")
	}
	n := size() / 4 // keys, and elements, of a square
	per := lanes / n
	columns := copied(dim)
	SHRQ(Imm(4), columns)
	if f.scaled {
		w.odd = GP64()
		XORQ(w.odd, w.odd)
	}
	loop("square", columns, func() {
		from, scales := copied(w.src), GP64()
		if f.scaled {
			MOVQ(w.scales, scales)
		}
		for keys := range per {
			back := copied(from)
			backScales := copied(scales)
			for part := range per {
				if part > 0 {
					MOVQ(back, from)
					MOVQ(backScales, scales)
				}
				square := w.load(n, from, scales, part)
				for i, r := range transposed(square) {
					VMOVUPS(r, at(w.dst, (part*n+i)*turnedRow+keys*size()))
				}
			}
		}
		add(lanes*f.element, w.src)
		add(lanes*turnedRow, w.dst)
		if f.scaled { // two vectors of 16 elements have the same scale
			ADDQ(w.odd, w.scales)
			XORQ(Imm(2), w.odd)
		}
	})
	end()
}

type turnWriter struct {
	f                        format
	dst, src, scales, vector reg.GPVirtual
	odd                      reg.GPVirtual // 2 if the next vector is the second of its group, 0 if it is the first
}

// load widens register number part of n keys and goes on behind them.
func (w *turnWriter) load(n int, from, scales reg.GPVirtual, part int) []reg.VecVirtual {
	square := registers(n)
	for _, r := range square {
		var scale Op
		if w.f.scaled {
			scale = loadScale(at(scales, 0))
			ADDQ(w.vector, scales)
		}
		w.f.load(at(from, part*w.f.registerBytes()), scale, r)
		ADDQ(w.vector, from)
	}
	return square
}

// transposed turns a square of registers: element i of register j becomes element j of register i.
func transposed(x []reg.VecVirtual) []reg.VecVirtual {
	x = turnQuads(x)
	if !wide() {
		out := make([]reg.VecVirtual, 8)
		for i := range 4 { // quads of keys 0-3 and 4-7
			low, high := register(), register()
			VPERM2F128(Imm(0x20), x[4+i], x[i], low)
			VPERM2F128(Imm(0x31), x[4+i], x[i], high)
			out[i], out[4+i] = low, high
		}
		return out
	}
	out := make([]reg.VecVirtual, 16)
	for i := range 4 {
		a, b := pairQuads(x[i], x[4+i]), pairQuads(x[8+i], x[12+i])
		for half := range 2 {
			for k, r := range quadsOfPairs(a[half], b[half]) {
				out[4*(half+2*k)+i] = r
			}
		}
	}
	return out
}

// turnQuads turns the 4 by 4 squares in the 128-bit lanes of four registers at a time: then register 4*j+i has elements i, 4+i, 8+i... of
// registers 4*j to 4*j+3 in its lanes.
func turnQuads(x []reg.VecVirtual) []reg.VecVirtual {
	var out []reg.VecVirtual
	for j := 0; j < len(x); j += 4 {
		t := registers(4)
		VUNPCKLPS(x[j+1], x[j], t[0])
		VUNPCKHPS(x[j+1], x[j], t[1])
		VUNPCKLPS(x[j+3], x[j+2], t[2])
		VUNPCKHPS(x[j+3], x[j+2], t[3])
		y := registers(4)
		VUNPCKLPD(t[2], t[0], y[0])
		VUNPCKHPD(t[2], t[0], y[1])
		VUNPCKLPD(t[3], t[1], y[2])
		VUNPCKHPD(t[3], t[1], y[3])
		out = append(out, y...)
	}
	return out
}

// pairQuads is lanes 0, 2 of a and b, and lanes 1, 3: [a0 a2 b0 b2] and [a1 a3 b1 b3].
func pairQuads(a, b reg.VecVirtual) [2]reg.VecVirtual {
	even, odd := ZMM(), ZMM()
	VSHUFF32X4(Imm(0x88), b, a, even)
	VSHUFF32X4(Imm(0xdd), b, a, odd)
	return [2]reg.VecVirtual{even, odd}
}

// quadsOfPairs takes apart what pairQuads has put together: lane h of four registers, and lane h+2.
func quadsOfPairs(a, b reg.VecVirtual) [2]reg.VecVirtual { return pairQuads(a, b) }
