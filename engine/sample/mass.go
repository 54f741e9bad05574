package sample

import "math"

// MassBins is how many octaves below the likeliest token still count: what is left out is below 2^-27 of the whole even if all
// of 2^20 tokens lie there.
const MassBins = 48

// Mass is the sum of exp(logit/temperature) over some tokens, as exact integers: one fixed-point sum per octave of the terms.
// Integers add in any order, so the mass of a vocabulary is the same however it was cut. The zero value is the empty sum.
//
// A float sum would depend on the order, and a sum of exp(logit-max) would need the maximum of all slices first: one more round
// trip per token.
type Mass struct {
	Top  int32            // the octave of Bins[0]; Bins[j] holds terms of octave Top-j
	Bins [MassBins]uint64 // in units of 2^(Top-j-32)
}

// rate is what turns a logit into steps of power.
func rate(temperature float32) float64 { return log2e * octave / float64(temperature) }

// stepsOf is the exponent of exp(logit/temperature) in 1/128 of an octave, brought into what power takes. NaN counts as -Inf.
func stepsOf(logit float32, rate float64) float64 {
	x := float64(float64(logit) * rate)
	if x > stepsMax {
		return stepsMax
	}
	if !(x >= -stepsMax) {
		return -stepsMax
	}
	return x
}

// possible tells whether a token can occur at all.
func possible(logit float32) bool { return logit >= -math.MaxFloat32 }

// Add adds exp(l/temperature) for each logit; -Inf and NaN add nothing. Temperatures below TemperatureMin count as that.
func (m *Mass) Add(logits []float32, temperature float32) {
	most, found := largest(logits)
	if !found {
		return
	}
	temperature = max(temperature, TemperatureMin)
	r := rate(temperature)
	x := stepsOf(most, r)
	_, top := power(x)
	lowest := float64((top-MassBins+1)*octave) - 1 // what is below it lies under the last octave
	if lowest < -stepsMax || x == stepsMax {
		for _, l := range logits { // logits out of all proportion
			m.addOne(l, temperature)
		}
		return
	}
	var bins [64]uint64
	for _, l := range logits {
		if x := float64(float64(l) * r); x >= lowest {
			t, e := powerFloat(x)
			bins[(top-e)&63] += fixed(t)
		}
	}
	part := Mass{Top: int32(top)}
	copy(part.Bins[:], bins[:MassBins])
	m.Merge(&part)
}

// addOne adds one term.
func (m *Mass) addOne(logit float32, temperature float32) {
	if !possible(logit) {
		return
	}
	t, e := power(stepsOf(logit, rate(temperature)))
	part := Mass{Top: int32(e)}
	part.Bins[0] = t
	m.Merge(&part)
}

// largest is the largest logit that is not NaN; found is false if there is none above -Inf.
func largest(logits []float32) (most float32, found bool) {
	low := float32(math.Inf(-1))
	a, b, c, d := low, low, low, low // four at a time, as each comparison waits for the one before
	for ; len(logits) >= 4; logits = logits[4:] {
		if l := logits[0]; l > a {
			a = l
		}
		if l := logits[1]; l > b {
			b = l
		}
		if l := logits[2]; l > c {
			c = l
		}
		if l := logits[3]; l > d {
			d = l
		}
	}
	for _, l := range logits {
		if l > a {
			a = l
		}
	}
	most = max(max(a, b), max(c, d))
	return most, most > low
}

// Empty tells whether nothing was added.
func (m *Mass) Empty() bool { return m.Bins[0] == 0 }

// Merge adds the other sum.
func (m *Mass) Merge(o *Mass) {
	if o.Empty() {
		return
	}
	if m.Empty() {
		*m = *o
		return
	}
	if o.Top > m.Top {
		shift := int64(o.Top) - int64(m.Top)
		for j := int64(MassBins) - 1; j >= 0; j-- {
			if j >= shift {
				m.Bins[j] = m.Bins[j-shift]
			} else {
				m.Bins[j] = 0
			}
		}
		m.Top = o.Top
	}
	shift := int64(m.Top) - int64(o.Top)
	for j := shift; j < MassBins; j++ {
		m.Bins[j] += o.Bins[j-shift]
	}
}

// massShift makes the units of total small beside the terms that are cut off when octaves are brought together.
const massShift = 8

// total is the sum in units of 2^(Top-40). It cannot overflow for less than 2^22 tokens.
func (m *Mass) total() uint64 {
	var sum uint64
	for j, b := range m.Bins {
		sum += b << massShift >> j
	}
	return sum
}

// share is one token's term in the units of total.
func (m *Mass) share(logit float32, temperature float32) uint64 {
	if !possible(logit) {
		return 0
	}
	t, e := power(stepsOf(logit, rate(temperature)))
	down := int64(m.Top) - e
	if down < 0 || down >= MassBins {
		return 0
	}
	return t << massShift >> down
}

// Log is the natural logarithm of the sum: the log-sum-exp of the logits divided by the temperature. It is -Inf of nothing.
func (m *Mass) Log() float64 {
	total := m.total()
	if total == 0 {
		return math.Inf(-1)
	}
	exponent := float64(int64(m.Top) - 32 - massShift)
	return float64(exponent*ln2) + logarithm(float64(total))
}

// Logprob is the log-probability of a token with this logit, if m is the mass of the whole vocabulary at temperature 1.
func (m *Mass) Logprob(logit float32) float32 { return float32(float64(logit) - m.Log()) }
