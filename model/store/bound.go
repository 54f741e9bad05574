package store

import (
	"math"

	"polynode/kernels"
)

// The exponent of a matrix is chosen from an upper bound of the magnitude that the contribution of one leaf can reach
// with any input at all, so that the clamp of the fixed-point sums never bites. The bounds use the weights as they were
// packed.
const (
	// blockNoise bounds what quantising activations to int8 adds, as a part of their Euclidean norm in a block: each of
	// 32 values moves by at most 1/254 of the largest, which is at most the norm. sqrt(32)/254 = 0.0223.
	blockNoise = 0.0223
	// valueNoise bounds the same for one value, as a part of the largest in its block: once for the activations
	// (1/254) and once for a quantised KV page.
	valueNoise = 0.01
	// boundMargin covers float32 arithmetic and the rounding of leaves before.
	boundMargin = 1.05
)

// feed is what is known of the inputs of a matrix before any text is: either the weights of the LayerNorm that makes
// them, or a bound for each.
type feed struct {
	leaf   int
	gamma2 []float64 // (K) squares of the LayerNorm's weights
	beta   []float64 // (K) magnitudes of its biases
	inputs []float64 // (leaves) bound of the norm of a leaf's inputs
	input  float64   // and of all inputs
	radius float64   // sqrt(Embed): the norm that a normalised vector cannot exceed
	limits []float64 // (K) of each |input|, where the inputs do not come from a LayerNorm
}

// normFeed describes the output of a LayerNorm over len(gamma) values.
func normFeed(gamma, beta []float32, leaf int) *feed {
	f := &feed{leaf: leaf, radius: math.Sqrt(float64(len(gamma)))}
	var top, squares float64
	for lo := 0; lo < len(gamma); lo += leaf {
		var leafTop, leafSquares float64
		for i := lo; i < min(lo+leaf, len(gamma)); i++ {
			g, b := float64(gamma[i]), math.Abs(float64(beta[i]))
			f.gamma2 = append(f.gamma2, g*g)
			f.beta = append(f.beta, b)
			leafTop = max(leafTop, math.Abs(g))
			leafSquares += float64(b * b)
		}
		f.inputs = append(f.inputs, float64(f.radius*leafTop)+math.Sqrt(leafSquares))
		top, squares = max(top, leafTop), squares+leafSquares
	}
	f.input = float64(f.radius*top) + math.Sqrt(squares)
	return f
}

// limitFeed describes inputs with a bound each, and adds what quantising them in blocks can add.
func limitFeed(limits []float64, leaf int) *feed {
	noisy := make([]float64, len(limits))
	for lo := 0; lo < len(limits); lo += kernels.BlockK {
		block := limits[lo:min(lo+kernels.BlockK, len(limits))]
		top := 0.0
		for _, v := range block {
			top = max(top, v)
		}
		for i, v := range block {
			noisy[lo+i] = v + float64(valueNoise*top)
		}
	}
	return &feed{leaf: leaf, limits: noisy}
}

// bound gives, for one row of weights (K), the most that a single leaf and that the whole row can contribute.
//
// Behind a LayerNorm an input is gamma*z + beta with |z| <= radius, so Cauchy and Schwarz give
// |w·x| <= |w*gamma|·radius + Σ|w·beta|, plus |w|·noise of the quantisation. Otherwise it is Σ|w|·limit.
// Every product is rounded on its own so that all machines find the same exponent.
func (f *feed) bound(w []float32) (leaf, row float64) {
	if f.limits != nil {
		return f.boundLimits(w)
	}
	var scaled, shift, plain float64 // sums over the row of (w*gamma)^2, |w*beta|, w^2
	for n, lo := 0, 0; lo < len(w); n, lo = n+1, lo+f.leaf {
		hi := min(lo+f.leaf, len(w))
		part, gamma2, beta := w[lo:hi], f.gamma2[lo:hi], f.beta[lo:hi]
		gamma2, beta = gamma2[:len(part)], beta[:len(part)]
		var s, b, p float64
		for i, v := range part {
			v := float64(v)
			v2 := float64(v * v)
			s += float64(v2 * gamma2[i])
			b += float64(math.Abs(v) * beta[i])
			p += v2
		}
		leaf = max(leaf, f.norm(s, b, p, f.inputs[n]))
		scaled, shift, plain = scaled+s, shift+b, plain+p
	}
	return leaf, f.norm(scaled, shift, plain, f.input)
}

// norm combines the sums of one leaf or row with the bound of its inputs.
func (f *feed) norm(scaled, shift, plain, input float64) float64 {
	noise := float64(blockNoise * math.Sqrt(plain))
	return float64(math.Sqrt(scaled)*f.radius) + shift + float64(noise*input)
}

func (f *feed) boundLimits(w []float32) (leaf, row float64) {
	for lo := 0; lo < len(w); lo += f.leaf {
		hi := min(lo+f.leaf, len(w))
		limits, s := f.limits[lo:hi], 0.0
		for i, v := range w[lo:hi] {
			s += float64(math.Abs(float64(v)) * limits[i])
		}
		leaf, row = max(leaf, s), row+s
	}
	return leaf, row
}

// exponentFor is the exponent of a matrix whose leaves contribute at most bound.
func exponentFor(t *Tensor, leaf int, bound float64) int {
	return kernels.FixedPoint(kernels.LeafLimit(t.K, leaf), float64(boundMargin*bound))
}
