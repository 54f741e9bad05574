package engine

// pool keeps count of the blocks: who uses how many, which are free, and which full ones hold tokens that may come again (the
// prefix cache). Block 0 is not in it.
//
// A cached block is found by the chain of its tokens: its own 16 and the serial of the block before it. Serials are never used
// twice, so equal keys mean equal tokens from position 0 on, without any hash to trust. A free block keeps its content until it
// is taken; the one that has been free longest goes first, and a sequence frees its last block first, so what follows a block
// never outlives it.
type pool struct {
	blocks  []block
	buckets []BlockID // heads of the chains of cached blocks with equal hash; the length is a power of two
	serial  uint64    // the last one given
	free    int       // blocks that nothing uses
	cached  int       // of these, those with content that may come again
	keep    bool      // whether blocks stay in the cache when they become free
}

type block struct {
	refs       int32   // sequences that use it
	taken      int32   // working memory of need
	prev, next BlockID // in the list of free blocks, which begins and ends with block 0
	serial     uint64  // of its content; 0 if it is not in the cache
	parent     uint64  // serial of the block before it; 0 if it is the first
	tokens     [BlockTokens]int32
	chain      BlockID // the next in the bucket; 0 ends it
}

func newPool(blocks int, keep bool) *pool {
	size := 16
	for size < 2*blocks {
		size *= 2
	}
	p := &pool{blocks: make([]block, blocks), buckets: make([]BlockID, size), keep: keep}
	for id := 1; id < blocks; id++ {
		p.link(BlockID(id), p.blocks[0].prev)
	}
	return p
}

// link puts a block into the free list behind another one.
func (p *pool) link(id, after BlockID) {
	before := p.blocks[after].next
	p.blocks[id].prev, p.blocks[id].next = after, before
	p.blocks[after].next, p.blocks[before].prev = id, id
	p.free++
	if p.blocks[id].serial != 0 {
		p.cached++
	}
}

func (p *pool) unlink(id BlockID) {
	b := &p.blocks[id]
	p.blocks[b.prev].next, p.blocks[b.next].prev = b.next, b.prev
	p.free--
	if b.serial != 0 {
		p.cached--
	}
}

// take gives out the block that has been free longest, for one sequence. There must be one.
func (p *pool) take() BlockID {
	id := p.blocks[0].next
	p.unlink(id)
	p.forget(id)
	p.blocks[id].refs = 1
	return id
}

// retain adds a user to a block that holds something.
func (p *pool) retain(id BlockID) {
	if p.blocks[id].refs == 0 {
		p.unlink(id)
	}
	p.blocks[id].refs++
}

// release takes a user away. A block whose content may come again goes to the end of the free list, any other to its front.
func (p *pool) release(id BlockID) {
	b := &p.blocks[id]
	if b.refs--; b.refs > 0 {
		return
	}
	if !p.keep {
		p.forget(id)
	}
	if b.serial != 0 {
		p.link(id, p.blocks[0].prev)
	} else {
		p.link(id, 0)
	}
}

// find returns the cached block with these tokens behind the given one.
func (p *pool) find(parent uint64, tokens []int32) (BlockID, bool) {
	want := [BlockTokens]int32(tokens)
	for id := p.buckets[p.bucket(parent, &want)]; id != 0; id = p.blocks[id].chain {
		if b := &p.blocks[id]; b.parent == parent && b.tokens == want {
			return id, true
		}
	}
	return 0, false
}

// register makes a full block with one user known to the cache. If its content is there already, the block becomes free and
// the other one gets the user. It returns the block to use.
func (p *pool) register(id BlockID, parent uint64, tokens []int32) BlockID {
	if other, ok := p.find(parent, tokens); ok {
		if other != id {
			p.retain(other)
			p.release(id)
		}
		return other
	}
	p.serial++
	b := &p.blocks[id]
	b.serial, b.parent, b.tokens = p.serial, parent, [BlockTokens]int32(tokens)
	head := p.bucket(parent, &b.tokens)
	b.chain = p.buckets[head]
	p.buckets[head] = id
	return id
}

// forget removes a block, which must not be in the free list, from the cache.
func (p *pool) forget(id BlockID) {
	b := &p.blocks[id]
	if b.serial == 0 {
		return
	}
	link := &p.buckets[p.bucket(b.parent, &b.tokens)]
	for *link != id {
		link = &p.blocks[*link].chain
	}
	*link = b.chain
	b.serial, b.parent, b.chain = 0, 0, 0
}

// forgetAll empties the cache. No block may be in use.
func (p *pool) forgetAll() {
	clear(p.buckets)
	for i := range p.blocks {
		b := &p.blocks[i]
		b.serial, b.parent, b.chain = 0, 0, 0
	}
	p.cached = 0
}

// bucket is where a cached block belongs (FNV-1a over the words of its key, finished by a multiplication).
func (p *pool) bucket(parent uint64, tokens *[BlockTokens]int32) int {
	h := (0xcbf29ce484222325 ^ parent) * 0x100000001b3
	for _, t := range tokens {
		h = (h ^ uint64(uint32(t))) * 0x100000001b3
	}
	return int(h * 0x9e3779b97f4a7c15 >> 32 & uint64(len(p.buckets)-1))
}
