package model

import "polynode/shard"

// Piece is a slice of a packed matrix.
type Piece struct {
	Name    Name
	Rows, K shard.Slice
}

// AheadReader is what a Source may also be: one that reads from a disk and wants to know in advance what.
type AheadReader interface {
	// ReadAhead says which pieces will be verified next, in this order, and takes the place of what was said before. The
	// source reads them in the background, some way ahead of Verify. It does not keep the slice.
	ReadAhead(order []Piece)
}

// announce tells the source in which order the first step will use the stage's weights.
func (s *Stage) announce() {
	reader, ok := s.source.(AheadReader)
	if !ok {
		return
	}
	var order []Piece
	add := func(pieces []piece) {
		for _, p := range pieces {
			order = append(order, Piece{Name: p.name, Rows: p.rows, K: p.k})
		}
	}
	for i := range s.layers {
		add(s.layers[i].unverified)
	}
	add(s.head.unverified)
	reader.ReadAhead(order)
}
