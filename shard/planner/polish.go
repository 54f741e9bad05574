package planner

import "slices"

// Limits of the last touch to a layout.
const (
	polishedMax     = 8   // layouts that get it
	polishRanksMax  = 16  // ranks of a layout up to which it pays
	polishRoundsMax = 200 // changes to each
)

// polish moves single pieces between the ranks of a stage in the best layouts. Where memory is short, or prompts and tokens would
// be cut differently, the cut that looks at one matrix after the other is not quite the best.
func (s *search) polish() {
	for _, b := range slices.Clone(s.pool[:min(len(s.pool), polishedMax)]) {
		if len(b.machines) == b.nodes() || b.nodes() > polishRanksMax {
			continue // nobody shares anything, or too many do
		}
		p := polisher{facts: s.facts, now: candidate{cloneLayout(b.layout), b.price}}
		for st := range p.now.layout {
			p.meshes = append(p.meshes, s.meshOf(p.now.layout[st].ranks))
		}
		improved := false
		for round := 0; round < polishRoundsMax && p.round(); round++ {
			improved = true
		}
		if improved {
			s.add(p.now, b.machines)
		}
	}
}

// polisher changes one layout.
type polisher struct {
	*facts
	now    candidate
	meshes []mesh
}

// piece is so many heads, FFN columns and vocabulary rows.
type piece struct{ heads, inner, vocab int }

// round makes the first change that helps.
func (p *polisher) round() bool {
	for s := range p.now.layout {
		ranks := p.now.layout[s].ranks
		layers := p.now.layout[s].layers
		perHead := max(1, int(p.headBytes(layers)/p.inBytes(layers)+0.999))
		one := []piece{{p.headUnit, 0, 0}, {0, p.inUnit, 0}, {0, 0, p.voUnit}}
		for a := range ranks {
			for b := range ranks {
				if a == b {
					continue
				}
				for _, there := range one {
					if p.move(s, a, b, there, piece{}) {
						return true
					}
				}
				// Where b is full it has to give something for it.
				if p.move(s, a, b, one[0], piece{0, perHead * p.inUnit, 0}) || p.move(s, a, b, piece{0, perHead * p.inUnit, 0}, one[0]) {
					return true
				}
			}
		}
	}
	return false
}

// move takes a piece from rank a to rank b and another one back, if both have them and memory for them, and the plan gets better.
func (p *polisher) move(s, a, b int, there, back piece) bool {
	if !p.has(s, a, there) || !p.has(s, b, back) {
		return false
	}
	l := cloneLayout(p.now.layout)
	l[s].ranks[a].add(back, 1)
	l[s].ranks[a].add(there, -1)
	l[s].ranks[b].add(there, 1)
	l[s].ranks[b].add(back, -1)
	for _, r := range []rank{l[s].ranks[a], l[s].ranks[b]} {
		if p.sizes.need(l[s].layers, p.wholePieces(r), s == 0) > p.machines[r.machine].memory || r.heads+r.inner+r.vocab == 0 {
			return false
		}
	}
	price := p.priceLayout(l, p.meshes)
	if !better(&price, &p.now.price) {
		return false
	}
	p.now = candidate{l, price}
	return true
}

// wholePieces is a share with the ragged ends of the matrices filled up: in a plan they may be another rank's.
func (f *facts) wholePieces(r rank) rank {
	up := func(n, unit int) int { return (n + unit - 1) / unit * unit }
	return rank{r.machine, up(r.heads, f.headUnit), up(r.inner, f.inUnit), up(r.vocab, f.voUnit)}
}

// has reports whether a rank can give a piece. What is ragged stays where it is.
func (p *polisher) has(s, i int, x piece) bool {
	r := &p.now.layout[s].ranks[i]
	whole := func(have, want, unit int) bool { return have >= want && (want == 0 || have%unit == 0) }
	return whole(r.heads, x.heads, p.headUnit) && whole(r.inner, x.inner, p.inUnit) && whole(r.vocab, x.vocab, p.voUnit)
}

func (r *rank) add(x piece, times int) {
	r.heads += times * x.heads
	r.inner += times * x.inner
	r.vocab += times * x.vocab
}

func cloneLayout(l layout) layout {
	out := slices.Clone(l)
	for s := range out {
		out[s].ranks = slices.Clone(out[s].ranks)
	}
	return out
}
