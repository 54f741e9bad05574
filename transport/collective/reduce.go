package collective

import (
	"fmt"

	"polynode/transport"
)

// What decides how sums are exchanged. All ranks have to come to the same decision, so they decide by numbers that they have in
// common and not by what each has measured.
const (
	// delayBytes is what a link carries in the time that one more exchange takes, where the plan does not say: 1 Gbit/s and a quarter of
	// a millisecond.
	delayBytes = 30 << 10
	// quartersPerSum is the usual size of a packed sum in quarters of a byte.
	quartersPerSum = 9
)

// chunkSums is how many sums surely fit into one frame.
const chunkSums = (chunkBytes - packedHead - packSlack) / packedRunMax * packRun

// twoSteps reports whether n sums are exchanged in two steps by so many ranks, because what that saves in bytes takes longer
// than the delay of another exchange, in which a link carries delay bytes. Of b bytes each rank sends (ranks-1)·b in one step and
// 2·(ranks-1)·b/ranks in two.
func twoSteps(n, ranks int, delay int64) bool {
	return int64(n)*quartersPerSum/4*int64(ranks-1)*int64(ranks-2) > delay*int64(ranks)
}

// reduction is an AllReduce under way: a number of exchanges, in each of which every rank sends one frame to each other
// and receives one from each.
//
// In one step, exchange i is of chunk i of the sums, which all ranks send to all. In two steps each chunk has two exchanges, and
// each rank a slice of it: in the first one ranks send each other those slices of their sums that are the other's, which adds
// them up; in the second one they send the whole sums of their slice to all. Between the two lies the first exchange of
// the next chunk, so that no rank sits idle until its slice is there.
type reduction struct {
	sums   []int32
	two    bool
	length int // of a chunk
	chunks int
}

// AllReduce replaces sums by the sums over all ranks, wrapping on overflow. All ranks give the same length. After an
// error sums are of no use.
//
// Few sums are exchanged in one step, which is one network delay: that is what counts for the few kilobytes of a decoded
// token. Many, as of a prompt, go in two steps where three ranks or more would otherwise send the same many times.
func (g *Group) AllReduce(sums []int32) error {
	if g.session.err != nil {
		return g.session.err
	}
	ranks := len(g.peers)
	if ranks == 1 || len(sums) == 0 {
		return nil
	}
	r := &g.reducing
	*r = reduction{sums: sums, two: twoSteps(len(sums), ranks, g.delay), length: chunkSums}
	if r.two {
		r.length *= ranks
	}
	r.chunks = (len(sums) + r.length - 1) / r.length
	err := g.reduce()
	r.sums = nil
	return err
}

// reduce does all exchanges, sending one ahead of what it receives so that the network is never idle.
//
// Frame i is sent when those up to i-2 have been received from each peer. A peer that had sent its frame i-2 had received those up to
// i-4, so no more than framesAhead frames, i-3 to i, are unread by a peer at any time.
func (g *Group) reduce() error {
	r := &g.reducing
	exchanges, ahead := r.chunks, 1
	if r.two {
		exchanges *= 2
		if r.chunks == 1 {
			ahead = 0 // the second exchange depends on the first
		}
	}
	received := 0
	for i := range exchanges {
		for ; received < i-ahead; received++ {
			if err := g.takeSums(received); err != nil {
				return err
			}
		}
		if err := g.giveSums(i); err != nil {
			return err
		}
	}
	for ; received < exchanges; received++ {
		if err := g.takeSums(received); err != nil {
			return err
		}
	}
	return nil
}

// exchange says which chunk exchange i is of, and whether it is the second one, for whole sums. With two steps the order is
//
//	first 0, first 1, second 0, first 2, second 1, ... first n-1, second n-2, second n-1
func (r *reduction) exchange(i int) (chunk []int32, whole bool) {
	number := i
	if r.two {
		switch {
		case i == 0:
		case i == 2*r.chunks-1:
			number, whole = r.chunks-1, true
		case i%2 == 1:
			number = (i + 1) / 2
		default:
			number, whole = i/2-1, true
		}
	}
	return r.sums[number*r.length : min((number+1)*r.length, len(r.sums))], whole
}

// slice is the part of a chunk that a rank of so many adds up.
func slice(chunk []int32, rank, ranks int) []int32 {
	each := (len(chunk) + ranks - 1) / ranks
	each = (each + packRun - 1) / packRun * packRun
	return chunk[min(rank*each, len(chunk)):min((rank+1)*each, len(chunk))]
}

// giveSums sends this rank's frames of exchange i.
func (g *Group) giveSums(i int) error {
	chunk, whole := g.reducing.exchange(i)
	ranks, alike := len(g.peers), true // whether all get the same
	switch {
	case !g.reducing.two:
		g.out = appendPacked(g.out[:0], chunk)
	case whole:
		g.out = appendPacked(g.out[:0], slice(chunk, g.rank, ranks))
	default:
		alike = false
	}
	for rank, peer := range g.peers {
		if peer == nil {
			continue
		}
		if !alike {
			g.out = appendPacked(g.out[:0], slice(chunk, rank, ranks))
		}
		if err := g.session.send(peer, transport.KindSums, 0, g.out); err != nil {
			return err
		}
	}
	return nil
}

// takeSums receives the peers' frames of exchange i.
func (g *Group) takeSums(i int) error {
	chunk, whole := g.reducing.exchange(i)
	ranks := len(g.peers)
	for rank, peer := range g.peers {
		if peer == nil {
			continue
		}
		if err := g.session.recv(peer, transport.KindSums); err != nil {
			return err
		}
		var err error
		switch {
		case !g.reducing.two:
			err = addPacked(chunk, peer.in.Payload)
		case whole:
			err = setPacked(slice(chunk, rank, ranks), peer.in.Payload)
		default:
			err = addPacked(slice(chunk, g.rank, ranks), peer.in.Payload)
		}
		if err != nil {
			return g.session.failAt(peer, fmt.Errorf("%w: %w", ErrMismatch, err))
		}
	}
	return nil
}
