package kernels

import (
	"encoding/binary"
	"math"
)

// This file is the numeric contract once more, in the plainest code that can say it: no blocking, no tables, no
// tricks with bits. The tests hold every tier to it bit for bit.

// specQuantised is one row of activations in int8, by its definition.
type specQuantised struct {
	q     []int
	scale []float32 // per leaf
}

func specQuantise(x []float32, leaf int) specQuantised {
	var out specQuantised
	for lo := 0; lo < len(x); lo += leaf {
		inputs := x[lo:min(lo+leaf, len(x))]
		amax := float32(0)
		for _, v := range inputs {
			if a := float32(math.Abs(float64(v))); a > amax || a != a {
				amax = a
			}
			if amax != amax {
				break
			}
		}
		inv := float32(127) / amax
		if math.IsNaN(float64(inv)) || math.IsInf(float64(inv), 0) {
			inv = 0
		}
		for _, v := range inputs {
			out.q = append(out.q, specRoundQuant(float32(v*inv)))
		}
		out.scale = append(out.scale, amax/127)
	}
	return out
}

func specRoundQuant(y float32) int {
	switch {
	case math.IsNaN(float64(y)) || y < -127:
		return -127
	case y > 127:
		return 127
	}
	return int(math.RoundToEven(float64(y)))
}

// specWeight reads weight (row, k) of a packed matrix as its integer and its scale (1 for the float formats).
func specWeight(m *Matrix, row, k int) (w, scale float32) {
	block := m.Data[row/PanelRows*m.PanelStride+k/BlockK*m.Format.BlockBytes():]
	row, k = row%PanelRows, k%BlockK
	half := func(at int) uint16 { return binary.LittleEndian.Uint16(block[at:]) }
	switch m.Format {
	case F32:
		return math.Float32frombits(binary.LittleEndian.Uint32(block[4*(16*k+row):])), 1
	case BF16:
		return math.Float32frombits(uint32(half(64*(k/2)+4*row+2*(k%2))) << 16), 1
	case Q8:
		return float32(int(block[32+64*(k/4)+4*row+k%4]) - 128), specF16(half(2 * row))
	default:
		pair := block[32+64*(k%16/4)+4*row+k%4]
		if k < 16 {
			return specQ4(pair & 15), specF16(half(2 * row))
		}
		return specQ4(pair >> 4), specF16(half(2 * row))
	}
}

// specQ4 is the level of a quant of Q4.
func specQ4(quant byte) float32 {
	return []float32{-63, -49, -39, -30, -22, -16, -10, -4, 1, 6, 11, 17, 23, 31, 40, 53}[quant]
}

// specF16 is the value of a float16 by its definition.
func specF16(h uint16) float32 {
	sign, exponent, fraction := 1-2*float64(h>>15), int(h>>10&31), float64(h&1023)
	switch {
	case exponent == 31 && fraction == 0:
		return float32(math.Inf(int(sign)))
	case exponent == 31:
		return float32(math.NaN())
	case exponent == 0:
		return float32(math.Copysign(fraction*0x1p-24, sign))
	}
	return float32(sign * (1024 + fraction) * math.Pow(2, float64(exponent-25)))
}

// specProduct is one output of MulPanels for one row of activations, x (K) and the same quantised.
func specProduct(m *Matrix, x []float32, quantised specQuantised, row int) (sum int32, clamped int) {
	for lo := 0; lo < m.K; lo += m.Leaf {
		acc := float32(0)
		for k := lo; k < min(lo+m.Leaf, m.K); k++ {
			if !m.Format.Quantised() {
				w, _ := specWeight(m, row, k)
				acc = acc + float32(w*x[k])
				continue
			}
			if k%BlockK != 0 {
				continue
			}
			dot, wscale := 0, float32(0)
			for i := k; i < min(k+BlockK, m.K); i++ {
				w, s := specWeight(m, row, i)
				dot, wscale = dot+int(w)*quantised.q[i], s
			}
			acc = acc + float32(float32(dot)*wscale)
		}
		if m.Format.Quantised() {
			acc = acc * quantised.scale[lo/m.Leaf]
		}
		c, bit := specLeaf(acc, m.Exponent, m.Limit)
		sum += c
		clamped += bit
	}
	return sum, clamped
}

func specLeaf(acc float32, exponent int, limit int32) (contribution int32, clamped int) {
	top := float32(limit)
	if float64(top) > float64(limit) {
		top = math.Nextafter32(top, 0)
	}
	c := acc * float32(math.Pow(2, float64(exponent)))
	switch {
	case math.IsNaN(float64(c)) || c < -top:
		return -int32(top), 1
	case c > top:
		return int32(top), 1
	}
	return int32(math.RoundToEven(float64(c))), 0
}

// specLaneSum adds terms in 16 lanes and the tree.
func specLaneSum(terms []float32) float32 {
	var lane [16]float32
	for i, v := range terms {
		lane[i%16] = lane[i%16] + v
	}
	for width := 8; width > 0; width /= 2 {
		for l := range width {
			lane[l] = lane[l] + lane[l+width]
		}
	}
	return lane[0]
}

func specLayerNorm(x, w, b []float32, eps float32) []float32 {
	n := float32(len(x))
	mean := specLaneSum(x) / n
	var squares []float32
	for _, v := range x {
		d := v - mean
		squares = append(squares, float32(d*d))
	}
	variance := specLaneSum(squares) / n
	inv := 1 / float32(math.Sqrt(float64(float32(variance+eps))))
	var out []float32
	for i, v := range x {
		d := v - mean
		y := float32(float32(d*inv) * w[i])
		out = append(out, y+b[i])
	}
	return out
}

func specExp(x float32) float32 {
	switch {
	case math.IsNaN(float64(x)):
		return x
	case x > 88.722831:
		return float32(math.Inf(1))
	case x < -87.33654:
		return 0
	}
	// RoundToEven of a float32 product is what adding and taking away 1.5 * 2^23 gives.
	n := float32(math.RoundToEven(float64(float32(x * float32(1.44269504)))))
	r := x - float32(n*float32(0.693359375))
	r = r - float32(n*float32(-2.12194440e-4))
	p := float32(1.9875691500e-4)
	for _, c := range []float32{1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1} {
		p = float32(p*r) + c
	}
	y := float32(p * float32(r*r))
	y = y + r
	y = y + 1
	return float32(math.Ldexp(float64(y), int(n)))
}

func specGELU(x float32) float32 {
	square := float32(x * x)
	cubic := 1 + float32(float32(0.044715)*square)
	return x / (1 + specExp(float32(float32(x*float32(-1.5957691216))*cubic)))
}

func specGELUErf(x float32) float32 {
	z := float32(float32(math.Abs(float64(x))) * float32(0.70710678119))
	if z > 16 {
		z = 16
	}
	h := z / 2
	u := h / (1 + h)
	coef := []float32{
		-2.25675431342, 1.7430764126, -0.272380191634, -0.328197923668, 0.0778800114611,
		-0.0916998669253, 0.298472471794, -0.223388071064, 0.052982382531,
	}
	p := coef[8]
	for i := 7; i >= 0; i-- {
		p = float32(p*u) + coef[i]
	}
	e := float32((1 + float32(u*p)) * specExp(-float32(z*z)))
	if x < 0 {
		return float32(x*0.5) * e
	}
	return float32(x*0.5) * (2 - e)
}

// specAttend is one query row of one head over keys and values (keys, len(q)).
func specAttend(q []float32, keys, values [][]float32) []float32 {
	d := len(q)
	scale := float32(1 / math.Sqrt(float64(d)))
	var maxes, sums []float32
	var accs [][]float32
	for lo := 0; lo < len(keys); lo += 128 {
		hi := min(lo+128, len(keys))
		var scores []float32
		m := float32(math.Inf(-1))
		for _, key := range keys[lo:hi] {
			var terms []float32
			for i := range q {
				terms = append(terms, float32(q[i]*key[i]))
			}
			s := float32(specLaneSum(terms) * scale)
			scores = append(scores, s)
			if s > m {
				m = s
			}
		}
		acc := make([]float32, d)
		for j := range scores {
			scores[j] = specExp(scores[j] - m)
			for i := range acc {
				acc[i] = acc[i] + float32(scores[j]*values[lo+j][i])
			}
		}
		maxes, sums, accs = append(maxes, m), append(sums, specLaneSum(scores)), append(accs, acc)
	}
	m := float32(math.Inf(-1))
	for _, v := range maxes {
		if v > m {
			m = v
		}
	}
	sum, out := float32(0), make([]float32, d)
	for b := range maxes {
		w := specExp(maxes[b] - m)
		sum = sum + float32(sums[b]*w)
		for i := range out {
			out[i] = out[i] + float32(accs[b][i]*w)
		}
	}
	for i := range out {
		out[i] = out[i] / sum
	}
	return out
}

// specKV is what one head vector becomes in the cache.
func specKV(f KVFormat, x []float32) []float32 {
	out := make([]float32, len(x))
	for lo := 0; lo < len(x); lo += 32 {
		group := x[lo:min(lo+32, len(x))]
		if f == KVF32 {
			copy(out[lo:], group)
			continue
		}
		if f == KVF16 {
			for i, v := range group {
				out[lo+i] = specF16(F32ToF16(v))
			}
			continue
		}
		amax := float32(0)
		for _, v := range group {
			a := float32(math.Abs(float64(v)))
			if a > amax || a != a {
				amax = a
			}
			if amax != amax {
				break
			}
		}
		scale := specF16(F32ToF16(amax / 127))
		inv := 1 / scale
		if math.IsNaN(float64(inv)) || math.IsInf(float64(inv), 0) {
			inv = 0
		}
		for i, v := range group {
			out[lo+i] = float32(float32(specRoundQuant(float32(v*inv))) * scale)
		}
	}
	return out
}
