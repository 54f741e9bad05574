package sample

import "math"

// The functions of this file are written out so that they give the same bits on every machine: package math uses assembly and
// fused multiply-adds on some. float64(x*y) + z keeps the compiler from fusing.

const (
	octave    = 128                   // steps of the table of powers
	rounder   = 1.5 * (1 << 52)       // adding it rounds a float64 of less than 2^51 to an integer
	stepsMax  = 1 << 37               // |steps| that power takes
	log2e     = 1.4426950408889634074 // 1/ln 2
	ln2       = 0.69314718055994530942
	ln2High   = 6.93147180369123816490e-01
	ln2Low    = 1.90821492927058770002e-10
	massPoint = 1 << 32 // one, in the fixed-point numbers of power
)

// powers is 2^(i/128) as float64.
var powers = [octave]float64{
	0x1.0000000000000p+0, 0x1.0163da9fb3335p+0, 0x1.02c9a3e778061p+0, 0x1.04315e86e7f85p+0,
	0x1.059b0d3158574p+0, 0x1.0706b29ddf6dep+0, 0x1.0874518759bc8p+0, 0x1.09e3ecac6f383p+0,
	0x1.0b5586cf9890fp+0, 0x1.0cc922b7247f7p+0, 0x1.0e3ec32d3d1a2p+0, 0x1.0fb66affed31bp+0,
	0x1.11301d0125b51p+0, 0x1.12abdc06c31ccp+0, 0x1.1429aaea92de0p+0, 0x1.15a98c8a58e51p+0,
	0x1.172b83c7d517bp+0, 0x1.18af9388c8deap+0, 0x1.1a35beb6fcb75p+0, 0x1.1bbe084045cd4p+0,
	0x1.1d4873168b9aap+0, 0x1.1ed5022fcd91dp+0, 0x1.2063b88628cd6p+0, 0x1.21f49917ddc96p+0,
	0x1.2387a6e756238p+0, 0x1.251ce4fb2a63fp+0, 0x1.26b4565e27cddp+0, 0x1.284dfe1f56381p+0,
	0x1.29e9df51fdee1p+0, 0x1.2b87fd0dad990p+0, 0x1.2d285a6e4030bp+0, 0x1.2ecafa93e2f56p+0,
	0x1.306fe0a31b715p+0, 0x1.32170fc4cd831p+0, 0x1.33c08b26416ffp+0, 0x1.356c55f929ff1p+0,
	0x1.371a7373aa9cbp+0, 0x1.38cae6d05d866p+0, 0x1.3a7db34e59ff7p+0, 0x1.3c32dc313a8e5p+0,
	0x1.3dea64c123422p+0, 0x1.3fa4504ac801cp+0, 0x1.4160a21f72e2ap+0, 0x1.431f5d950a897p+0,
	0x1.44e086061892dp+0, 0x1.46a41ed1d0057p+0, 0x1.486a2b5c13cd0p+0, 0x1.4a32af0d7d3dep+0,
	0x1.4bfdad5362a27p+0, 0x1.4dcb299fddd0dp+0, 0x1.4f9b2769d2ca7p+0, 0x1.516daa2cf6642p+0,
	0x1.5342b569d4f82p+0, 0x1.551a4ca5d920fp+0, 0x1.56f4736b527dap+0, 0x1.58d12d497c7fdp+0,
	0x1.5ab07dd485429p+0, 0x1.5c9268a5946b7p+0, 0x1.5e76f15ad2148p+0, 0x1.605e1b976dc09p+0,
	0x1.6247eb03a5585p+0, 0x1.6434634ccc320p+0, 0x1.6623882552225p+0, 0x1.68155d44ca973p+0,
	0x1.6a09e667f3bcdp+0, 0x1.6c012750bdabfp+0, 0x1.6dfb23c651a2fp+0, 0x1.6ff7df9519484p+0,
	0x1.71f75e8ec5f74p+0, 0x1.73f9a48a58174p+0, 0x1.75feb564267c9p+0, 0x1.780694fde5d3fp+0,
	0x1.7a11473eb0187p+0, 0x1.7c1ed0130c132p+0, 0x1.7e2f336cf4e62p+0, 0x1.80427543e1a12p+0,
	0x1.82589994cce13p+0, 0x1.8471a4623c7adp+0, 0x1.868d99b4492edp+0, 0x1.88ac7d98a6699p+0,
	0x1.8ace5422aa0dbp+0, 0x1.8cf3216b5448cp+0, 0x1.8f1ae99157736p+0, 0x1.9145b0b91ffc6p+0,
	0x1.93737b0cdc5e5p+0, 0x1.95a44cbc8520fp+0, 0x1.97d829fde4e50p+0, 0x1.9a0f170ca07bap+0,
	0x1.9c49182a3f090p+0, 0x1.9e86319e32323p+0, 0x1.a0c667b5de565p+0, 0x1.a309bec4a2d33p+0,
	0x1.a5503b23e255dp+0, 0x1.a799e1330b358p+0, 0x1.a9e6b5579fdbfp+0, 0x1.ac36bbfd3f37ap+0,
	0x1.ae89f995ad3adp+0, 0x1.b0e07298db666p+0, 0x1.b33a2b84f15fbp+0, 0x1.b59728de5593ap+0,
	0x1.b7f76f2fb5e47p+0, 0x1.ba5b030a1064ap+0, 0x1.bcc1e904bc1d2p+0, 0x1.bf2c25bd71e09p+0,
	0x1.c199bdd85529cp+0, 0x1.c40ab5fffd07ap+0, 0x1.c67f12e57d14bp+0, 0x1.c8f6d9406e7b5p+0,
	0x1.cb720dcef9069p+0, 0x1.cdf0b555dc3fap+0, 0x1.d072d4a07897cp+0, 0x1.d2f87080d89f2p+0,
	0x1.d5818dcfba487p+0, 0x1.d80e316c98398p+0, 0x1.da9e603db3285p+0, 0x1.dd321f301b460p+0,
	0x1.dfc97337b9b5fp+0, 0x1.e264614f5a129p+0, 0x1.e502ee78b3ff6p+0, 0x1.e7a51fbc74c83p+0,
	0x1.ea4afa2a490dap+0, 0x1.ecf482d8e67f1p+0, 0x1.efa1bee615a27p+0, 0x1.f252b376bba97p+0,
	0x1.f50765b6e4540p+0, 0x1.f7bfdad9cbe14p+0, 0x1.fa7c1819e90d8p+0, 0x1.fd3c22b8f71f1p+0,
}

// Coefficients of 2^(x/128) = Σ c_i x^i: (ln 2 / 128)^i / i!. For |x| ≤ 1/2 these leave an error of 2e-15.
const (
	pow1 = ln2 / octave
	pow2 = pow1 * pow1 / 2
	pow3 = pow2 * pow1 / 3
	pow4 = pow3 * pow1 / 4
)

// power returns 2^(steps/128) as mantissa · 2^(exponent-32), the mantissa about 2^32 to 2^33. |steps| must be at most stepsMax.
func power(steps float64) (mantissa uint64, exponent int64) {
	m, e := powerFloat(steps)
	return fixed(m), e
}

// fixed rounds m to fixed point.
func fixed(m float64) uint64 { return uint64(int64(float64(m*massPoint) + 0.5)) }

// powerFloat returns 2^(steps/128) as m · 2^exponent, m about 1 to 2.
func powerFloat(steps float64) (m float64, exponent int64) {
	shifted := steps + rounder
	x := steps - (shifted - rounder) // exact, at most 1/2
	k := int64(math.Float64bits(shifted)&(1<<52-1)) - 1<<51
	p := float64(pow4*x) + pow3
	p = float64(p*x) + pow2
	p = float64(p*x) + pow1
	return float64(powers[k&(octave-1)] * (float64(p*x) + 1)), k >> 7
}

// raise is x^y for x ≥ 1: exactly rounded products for whole y, otherwise right to about 14 digits.
func raise(x, y float64) float64 {
	if whole := int(max(min(y, 64), -64)); float64(whole) == y {
		p := 1.0
		for range max(whole, -whole) {
			p *= x
		}
		if whole < 0 {
			p = 1 / p
		}
		return p
	}
	steps := float64(float64(y*logarithm(x)) * (log2e * octave))
	m, e := powerFloat(max(min(steps, 1000*octave), -1000*octave))
	return m * math.Float64frombits(uint64(e+1023)<<52)
}

// logarithm is the natural logarithm of a positive, normal x: the reduction and the polynomial of FreeBSD's e_log.c, whose
// error is below 1 ulp, without fusing.
func logarithm(x float64) float64 {
	bits := math.Float64bits(x)
	e := int64(bits>>52) - 1023
	m := math.Float64frombits(bits&(1<<52-1) | 1023<<52) // in [1, 2)
	if m > math.Sqrt2 {
		m /= 2
		e++
	}
	f := m - 1
	s := f / (2 + f)
	s2 := float64(s * s)
	s4 := float64(s2 * s2)
	t1 := float64(s4*1.531383769920937332e-01) + 2.222219843214978396e-01
	t1 = float64(s4*t1) + 3.999999999940941908e-01
	t1 = float64(s4 * t1)
	t2 := float64(s4*1.479819860511658591e-01) + 1.818357216161805012e-01
	t2 = float64(s4*t2) + 2.857142874366239149e-01
	t2 = float64(s4*t2) + 6.666666666666735130e-01
	t2 = float64(s2 * t2)
	r := t1 + t2
	half := float64(float64(0.5*f) * f)
	k := float64(e)
	tail := float64(s*(half+r)) + float64(k*ln2Low)
	return float64(k*ln2High) - ((half - tail) - f)
}
