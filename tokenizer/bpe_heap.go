package tokenizer

// symbol is a node of the linked list that a long segment is merged in.
type symbol struct {
	start, size int32 // its runes; a size of 0 says that it was merged into the one before
	prev, next  int32 // neighbours, or -1
	node        uint32
	piece       int32
	frozen      bool // a user-defined symbol, which never merges
}

// candidate is a pair of neighbours to merge. It is void if one of them has grown or gone since.
type candidate struct {
	order       uint64 // rank<<32 | left: the least one merges first
	right, size int32  // size of both together
	node        uint32
	piece       int32
}

func (c *candidate) left() int32 { return int32(uint32(c.order)) }

// segmentLong merges with a heap. text has no user-defined symbol in it.
func (b *bpe) segmentLong(e *emitter, text []rune, sc *scratch) {
	syms := sc.syms[:0]
	for i, r := range text {
		syms = append(syms, b.newSymbol(i, r))
	}
	sc.syms = syms
	b.merge(text, sc, nil)
	for i := int32(0); i >= 0; i = syms[i].next {
		s := &syms[i]
		b.emit(e, s.piece, text[s.start:s.start+s.size])
	}
}

// newSymbol makes the symbol of the rune at i, which is also its index if all symbols are runes.
func (b *bpe) newSymbol(i int, r rune) symbol {
	s := symbol{start: int32(i), size: 1}
	if s.node, s.piece = b.v.words.step(0, r); s.node == 0 {
		s.piece = noPiece
	}
	return s
}

// encodeWhole is encode for vocabularies with UNUSED pieces. These may arise in a merge, and are taken apart in the end the
// way they were last put together anywhere in the text, so that the text cannot be cut.
func (b *bpe) encodeWhole(e *emitter, text []rune, sc *scratch) {
	syms := sc.syms[:0]
	for i := 0; i < len(text); {
		s := b.newSymbol(i, text[i])
		if b.v.symbols != nil {
			if n, id := b.v.symbols.longest(text[i:]); n > 0 {
				s = symbol{start: int32(i), size: int32(n), piece: id, frozen: true}
			}
		}
		syms = append(syms, s)
		i += int(s.size)
	}
	sc.syms = syms
	splits := make(map[int32]int32)
	b.merge(text, sc, splits)
	if len(syms) == 0 {
		return
	}
	for i := int32(0); i >= 0; i = syms[i].next {
		s := &syms[i]
		b.resegment(e, text[s.start:s.start+s.size], s.piece, splits)
	}
}

// merge links sc.syms and merges them until no pair is left. If splits is not nil, it receives for each UNUSED piece that
// might have been made how many runes of it were the left symbol.
func (b *bpe) merge(text []rune, sc *scratch, splits map[int32]int32) {
	syms, heap := sc.syms, sc.heap[:0]
	for i := range syms {
		syms[i].prev, syms[i].next = int32(i)-1, int32(i)+1
	}
	if len(syms) > 0 {
		syms[len(syms)-1].next = -1
	}
	push := func(left, right int32) {
		if left < 0 || right < 0 {
			return
		}
		l, r := &syms[left], &syms[right]
		if l.node == 0 || l.frozen || r.frozen {
			return
		}
		node, id := b.join(l.node, text[r.start:r.start+r.size])
		if id == noPiece {
			return
		}
		heap = heapPush(heap, candidate{
			order: uint64(b.rank[id])<<32 | uint64(left), right: right, size: l.size + r.size, node: node, piece: id,
		})
		if splits != nil && b.v.kind[id] == pieceUnused {
			splits[id] = l.size
		}
	}
	for i := 1; i < len(syms); i++ {
		push(int32(i)-1, int32(i))
	}
	for len(heap) > 0 {
		top := heap[0]
		heap = heapPop(heap)
		l, r := &syms[top.left()], &syms[top.right]
		if l.size == 0 || r.size == 0 || l.size+r.size != top.size {
			continue
		}
		l.size, l.node, l.piece = top.size, top.node, top.piece
		r.size = 0
		l.next = r.next
		if r.next >= 0 {
			syms[r.next].prev = top.left()
		}
		push(l.prev, top.left())
		push(top.left(), l.next)
	}
	sc.heap = heap
}

// resegment emits a symbol, taking UNUSED pieces apart. It uses a stack of its own: pieces may be long.
func (b *bpe) resegment(e *emitter, text []rune, piece int32, splits map[int32]int32) {
	type todo struct {
		text  []rune
		piece int32
	}
	stack := []todo{{text, piece}}
	for len(stack) > 0 {
		t := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		left, split := splits[t.piece]
		if t.piece == noPiece || !split || b.v.kind[b.v.canonical(t.piece)] != pieceUnused {
			b.emit(e, t.piece, t.text)
			continue
		}
		l, r := t.text[:left], t.text[left:]
		stack = append(stack, todo{r, b.v.words.findRunes(r)}, todo{l, b.v.words.findRunes(l)})
	}
}

// heapPush adds c to a heap with four children to a node, which is shallower than a binary one.
func heapPush(h []candidate, c candidate) []candidate {
	h = append(h, c)
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 4
		if h[up].order <= c.order {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = c
	return h
}

// heapPop removes the least candidate, h[0].
func heapPop(h []candidate) []candidate {
	c := h[len(h)-1]
	h = h[:len(h)-1]
	if len(h) == 0 {
		return h
	}
	i := 0
	for {
		least := 4*i + 1
		if least >= len(h) {
			break
		}
		for k := least + 1; k < min(4*i+5, len(h)); k++ {
			if h[k].order < h[least].order {
				least = k
			}
		}
		if c.order <= h[least].order {
			break
		}
		h[i] = h[least]
		i = least
	}
	h[i] = c
	return h
}
