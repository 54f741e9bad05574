package sample

import (
	"math"
	"math/bits"
	"slices"
)

// golden is 2^64 divided by the golden ratio, the increment of SplitMix64.
const golden = 0x9e3779b97f4a7c15

// mix is the finaliser of SplitMix64 (Steele, Lea, Flood 2014; Stafford's variant 13).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// ChoiceSeed is the seed of a request's choice: that of choice 0 is the request's own.
func ChoiceSeed(seed uint64, choice int) uint64 {
	if choice == 0 {
		return seed
	}
	return mix(mix(seed) + uint64(choice)*golden)
}

// noise is the randomness of one position: a Gumbel variable for each token, by counter, so that any slice of the vocabulary
// computes its own tokens' without the others.
type noise struct{ base uint64 }

func newNoise(seed uint64, position int) noise {
	return noise{mix(mix(seed+golden) + uint64(position)*golden)}
}

func (n noise) hash(token int32) uint64 { return mix(n.base + (uint64(uint32(token))+1)*golden) }

// gumbel is -log(-log(u)) of a u in (0, 1) made of the upper 52 bits; it lies between -3.6 and 36.8.
func gumbel(hash uint64) float64 {
	u := float64((float64(hash>>12) + 0.5) * 0x1p-52)
	return -logarithm(-logarithm(u))
}

// gumbelMax is a bound of gumbel.
const gumbelMax = 37

// bound is an upper bound of gumbel(hash): -log(u) ≥ 1-u, and 1-u is at least 2^-(1+leading zeros).
func bound(hash uint64) float64 { return bounds[bits.LeadingZeros64(^hash)] }

var bounds = func() (b [65]float64) {
	for z := range b {
		b[z] = float64(z+1)*ln2 + 1e-6
	}
	return b
}()

// noisy is a token and its logit over the temperature plus its Gumbel variable. The token whose sum is largest is a sample of
// the softmax (Gumbel-max; Maddison, Tarlow, Minka 2014).
type noisy struct {
	token int32
	logit float32
	sum   float64
}

// none loses against every token.
var none = noisy{-1, 0, math.Inf(-1)}

// better keeps the larger sum, of equal ones the smaller token.
func (a noisy) better(b noisy) bool {
	return a.sum > b.sum || a.sum == b.sum && a.token >= 0 && (b.token < 0 || a.token < b.token)
}

// draw samples from softmax(logits/temperature) over pieces of the vocabulary: best is the winner of the pieces before, at first
// none, and the result that of all. The order of the pieces does not matter.
//
// The likeliest token of the first piece goes first, so that for most others a glance at the leading bits of the hash shows that
// they cannot win; only a few need logarithms. What wins does not depend on it.
func draw(best noisy, logits []float32, lo int, cold float64, n noise) noisy {
	if best.token < 0 {
		most, found := largest(logits)
		if !found {
			return best
		}
		token := int32(lo + slices.Index(logits, most))
		best = noisy{token, most, scaled(most, cold) + gumbel(n.hash(token))}
	}
	for i, l := range logits {
		x := scaled(l, cold)
		gap := best.sum - x
		if !(gap <= gumbelMax) { // also of -Inf and NaN
			continue
		}
		token := int32(lo + i)
		h := n.hash(token)
		if bound(h) < gap {
			continue
		}
		if c := (noisy{token, l, x + gumbel(h)}); c.better(best) {
			best = c
		}
	}
	return best
}

// scaled is a logit over the temperature; cold is 1/temperature.
func scaled(logit float32, cold float64) float64 { return float64(float64(logit) * cold) }
