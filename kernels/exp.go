package kernels

import "math"

// Constants of Exp, each a float32.
const (
	expMax   = 88.722831 // the largest x whose exponential is finite
	expMin   = -87.33654 // the smallest x whose exponential is a normal number
	log2E    = 1.44269504
	ln2Hi    = 0.693359375 // ln 2 in two parts; a whole number below 256 times the upper one is exact
	ln2Lo    = -2.12194440e-4
	expCoef5 = 1.9875691500e-4
	expCoef4 = 1.3981999507e-3
	expCoef3 = 8.3334519073e-3
	expCoef2 = 4.1665795894e-2
	expCoef1 = 1.6666665459e-1
	expCoef0 = 5.0000001201e-1
)

// Exp is e^x within 2e-7 of the true value, Exp(±0) == 1. Above 88.722831 it is +Inf, below -87.33654 it is 0
// (never subnormal), of a NaN it is a NaN. Every operation is rounded to float32 on its own:
//
//	n = x*log2E rounded to the nearest integer (by adding and taking away 1.5 * 2^23)
//	r = (x - n*ln2Hi) - n*ln2Lo
//	p = ((((c5*r + c4)*r + c3)*r + c2)*r + c1)*r + c0
//	y = ((p*(r*r)) + r) + 1, with n added to its exponent
//
// The method and the coefficients are those of expf in Moshier's Cephes library.
func Exp(x float32) float32 {
	if x > expMax {
		return float32(math.Inf(1))
	}
	if x < expMin {
		return 0
	}
	if x != x {
		return x
	}
	shifted := float32(x*log2E) + roundMagic
	n := shifted - roundMagic
	r := x - float32(n*ln2Hi)
	r -= float32(n * ln2Lo)
	p := float32(expCoef5*r) + expCoef4
	p = float32(p*r) + expCoef3
	p = float32(p*r) + expCoef2
	p = float32(p*r) + expCoef1
	p = float32(p*r) + expCoef0
	y := float32(p*float32(r*r)) + r
	y++
	return math.Float32frombits(math.Float32bits(y) + math.Float32bits(shifted)<<23)
}

// ExpAll replaces each x by Exp(x).
func ExpAll(x []float32) {
	for i := leadExp(x); i < len(x); i++ {
		x[i] = Exp(x[i])
	}
}

const (
	geluCubic = 0.044715
	geluSlope = -1.5957691216 // -2 * sqrt(2/pi)
)

// GELU replaces each x by its Gaussian error linear unit in the tanh form (gelu_new, gelu_fast),
//
//	0.5*x*(1 + tanh(u)) = x / (1 + exp(-2u)),  u = sqrt(2/pi) * (x + 0.044715*x*x*x)
//
// computed as x / (1 + Exp((x*geluSlope) * (1 + geluCubic*(x*x)))), each step rounded to float32.
func GELU(x []float32) {
	for i := leadGELU(x); i < len(x); i++ {
		v := x[i]
		cubic := float32(geluCubic*float32(v*v)) + 1
		x[i] = v / (1 + Exp(float32(v*geluSlope)*cubic))
	}
}

const (
	sqrtHalf = 0.70710678119
	erfcMax  = 16 // erfc is 0 from 9.35 on
)

// erfcCoef is a minimax fit of exp(z*z)*erfc(z) = 1 + u*P(u), u = (z/2)/(1+z/2), over z in [0, 9.4]: relative error 3.3e-8.
var erfcCoef = [9]float32{
	-2.25675431342, 1.7430764126, -0.272380191634, -0.328197923668, 0.0778800114611,
	-0.0916998669253, 0.298472471794, -0.223388071064, 0.052982382531,
}

// erfc is the complementary error function of z >= 0, and so 1 - erfc is erf, within 2e-7:
//
//	if z > erfcMax, z = erfcMax;  h = z*0.5;  u = h / (1 + h)
//	(1 + u*P(u)) * Exp(-(z*z)), P by Horner's rule from the highest coefficient
//
// each step rounded to float32.
func erfc(z float32) float32 {
	if z > erfcMax {
		z = erfcMax
	}
	h := z * 0.5
	u := h / (1 + h)
	p := erfcCoef[8]
	for i := 7; i >= 0; i-- {
		p = float32(p*u) + erfcCoef[i]
	}
	return (1 + float32(u*p)) * Exp(-float32(z*z))
}

// GELUErf replaces each x by its Gaussian error linear unit in the exact form, x * erfc(-x/sqrt(2)) / 2, as
//
//	e = erfc(|x| * sqrtHalf);  if !(x < 0) e = 2 - e;  (x*0.5) * e
//
// each step rounded to float32. The tail of negative x keeps its relative precision.
func GELUErf(x []float32) {
	for i := leadGELUErf(x); i < len(x); i++ {
		v := x[i]
		z := float32(math.Float32frombits(math.Float32bits(v)&0x7fffffff) * sqrtHalf)
		e := erfc(z)
		if !(v < 0) {
			e = 2 - e
		}
		x[i] = float32(v*0.5) * e
	}
}
