package refmath

import "math"

// Matrix is a dense matrix of float64, row by row.
type Matrix struct {
	Rows, Cols int
	Data       []float64
}

// NewMatrix makes a matrix of zeros.
func NewMatrix(rows, cols int) Matrix {
	return Matrix{rows, cols, make([]float64, rows*cols)}
}

// Row is row i, sharing the matrix's memory.
func (a Matrix) Row(i int) []float64 { return a.Data[i*a.Cols : (i+1)*a.Cols] }

func (a Matrix) clone() Matrix {
	return Matrix{a.Rows, a.Cols, append([]float64(nil), a.Data...)}
}

func (a Matrix) add(b Matrix) {
	for i, v := range b.Data {
		a.Data[i] += v
	}
}

// multiply is x·wᵀ: x (n, k) times w (outputs, k) gives (n, outputs).
func multiply(x Matrix, w Tensor) Matrix {
	out := NewMatrix(x.Rows, w.Rows)
	row := make([]float64, w.Cols)
	for r := range w.Rows {
		for i, v := range w.row(r) {
			row[i] = float64(v)
		}
		for t := range x.Rows {
			out.Row(t)[r] = dot(x.Row(t), row)
		}
	}
	return out
}

// affine is x·wᵀ + b.
func affine(x Matrix, l linear) Matrix {
	out := multiply(x, l.weight)
	for t := range out.Rows {
		row := out.Row(t)
		for i, b := range l.bias.Data {
			row[i] += float64(b)
		}
	}
	return out
}

func dot(a, b []float64) float64 {
	sum := 0.0
	for i, v := range a {
		sum += v * b[i]
	}
	return sum
}

// layerNorm normalises each row to mean 0 and (biased) variance 1, then scales and shifts it.
func layerNorm(x Matrix, n norm, epsilon float32) Matrix {
	out := NewMatrix(x.Rows, x.Cols)
	for t := range x.Rows {
		row, size := x.Row(t), float64(x.Cols)
		mean, variance := 0.0, 0.0
		for _, v := range row {
			mean += v / size
		}
		for _, v := range row {
			variance += (v - mean) * (v - mean) / size
		}
		for i, v := range row {
			unit := (v - mean) / math.Sqrt(variance+float64(epsilon))
			out.Row(t)[i] = unit*float64(n.weight.Data[i]) + float64(n.bias.Data[i])
		}
	}
	return out
}

// softmax replaces logits by probabilities.
func softmax(x []float64) {
	shift := logSumExp(x)
	for i, v := range x {
		x[i] = math.Exp(v - shift)
	}
}

// logSumExp is log Σ exp(x), safe from overflow.
func logSumExp[F ~float32 | ~float64](x []F) float64 {
	peak := math.Inf(-1)
	for _, v := range x {
		peak = max(peak, float64(v))
	}
	if math.IsInf(peak, -1) {
		return peak
	}
	sum := 0.0
	for _, v := range x {
		sum += math.Exp(float64(v) - peak)
	}
	return peak + math.Log(sum)
}

// geluTanh is the tanh form of GELU, which checkpoints call gelu_new or gelu_fast:
// ½x(1 + tanh(√(2/π)(x + 0.044715x³))).
func geluTanh(x float64) float64 {
	return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
}

// geluErf is GELU itself, x·Φ(x).
func geluErf(x float64) float64 {
	return 0.5 * x * math.Erfc(-x/math.Sqrt2)
}
