package main

import . "polynode/kernels/internal/gen/neon/a64"

// The matrix instructions multiply two rows of eight weights by two columns of eight quants: the accumulator of rows 2r and 2r+1 and
// the columns of a pair holds (row, column) in the order (0, 0), (0, 1), (1, 0), (1, 1).

// square is the number of a pair of rows of the pass and a pair of columns, among the dot products and among the sums of the leaf.
func (p *product) square(rows, pair int) int { return pair*p.rows/2 + rows }

// loadPairs loads the quants of the block, four registers a pair of columns, each with eight k's of the one and eight of the other.
func (p *product) loadPairs() {
	for pair := range p.cols / 2 {
		p.LoadQ("R10", 64*pair, run(temps, 4)...)
		for half := range 2 {
			p.V(ZIP1D, p.pair(pair, 2*half), temps+half, temps+2+half)
			p.V(ZIP2D, p.pair(pair, 2*half+1), temps+half, temps+2+half)
		}
	}
}

// pair is the register of the k's 8e to 8e+7 of a pair of columns.
func (p *product) pair(pair, e int) int { return inputs + 4*pair + e }

// startSquares sets the dot products to zero, or to what takes 128 out of unsigned weights.
func (p *product) startSquares() {
	if p.q4 {
		for _, v := range run(dots, p.rows/2*p.cols/2) {
			p.V(MOVZERO, v)
		}
		return
	}
	p.I("FMOV%s (R11), F%d", map[int]string{2: "D", 4: "Q"}[p.cols], temps)
	for pair := range p.cols / 2 {
		for r := range p.rows / 2 {
			p.V(DUP2D, dots+p.square(r, pair), temps, pair)
		}
	}
}

// matrix adds the products of a block: of eight rows at a time, two groups of four k's side by side.
func (p *product) matrix(at int) {
	const second, zipped = temps + 2, const0
	for e := 0; e < 4; e++ {
		if p.q4 && e >= 2 {
			break // the high nibbles of the groups are the k's 16 further on
		}
		for half := range p.rows / 8 {
			p.LoadQ("R9", at+128*e+32*half, temps, temps+1)
			p.LoadQ("R9", at+128*e+64+32*half, second, second+1)
			for i := range 2 {
				rows := 4*half + 2*i
				if !p.q4 {
					p.V(ZIP1, zipped, temps+i, second+i)
					p.V(ZIP2, zipped+1, temps+i, second+i)
					p.multiply(USMMLA, rows, zipped, e)
					p.multiply(USMMLA, rows+1, zipped+1, e)
					continue
				}
				p.V(ZIP1, spare, temps+i, second+i)
				p.V(ZIP2, second+i, temps+i, second+i)
				p.bothNibbles(rows, spare, temps+i, e)
				p.bothNibbles(rows+1, second+i, temps+i, e)
			}
		}
	}
}

// bothNibbles multiplies the 16 bytes of two rows, which it destroys, by the k's of their low and of their high nibbles.
func (p *product) bothNibbles(rows, w, temp, e int) {
	p.nibbles(temp, w, false)
	p.multiply(SMMLA, rows, temp, e)
	p.nibbles(w, w, true)
	p.multiply(SMMLA, rows, w, 2+e)
}

func (p *product) multiply(op Op, rows, w, e int) {
	for pair := range p.cols / 2 {
		p.V(op, dots+p.square(rows, pair), w, p.pair(pair, e))
	}
}

// scaleSquares is the end of a block: the scales of a pair of rows stand beside each other twice.
func (p *product) scaleSquares(weights int) {
	for q := range p.quads() {
		p.V(ZIP1, temps, weights+q, weights+q)
		p.V(ZIP2, temps+1, weights+q, weights+q)
		for pair := range p.cols / 2 {
			for i := range 2 {
				n := p.square(2*q+i, pair)
				p.addScaled(accs+n, dots+n, temps+i)
			}
		}
	}
}

// unpair takes the sums of the four rows of quad q and column c out of two squares.
func (p *product) unpair(d, c, q int) {
	op := UZP1
	if c%2 == 1 {
		op = UZP2
	}
	p.V(op, d, accs+p.square(2*q, c/2), accs+p.square(2*q+1, c/2))
}
