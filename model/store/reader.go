package store

import (
	"os"
	"sync"
	"sync/atomic"

	"polynode/model"
)

const (
	// readerWindow is how many bytes the reader may be ahead of verification: more than a layer of 13B in q8, so that the disk
	// does not rest while a layer is hashed and computed; little enough that what was read is still there when its turn comes.
	readerWindow = 512 << 20
	// readerChunk is how many bytes it asks the system for at a time.
	readerChunk = 8 << 20
	// readerStreams is how many chunks it reads side by side, so that the disk always knows of more: eight read 13B a tenth faster than three.
	readerStreams = 8
)

var _ model.AheadReader = (*Model)(nil)

// reader reads pieces of a model into the system's memory of files, in the order of their first use, in goroutines that
// end with its list or with the model.
type reader struct {
	mu   sync.Mutex // held by ReadAhead and Close
	stop chan struct{}
	done sync.WaitGroup

	window   int64         // bytes
	waiting  atomic.Bool   // the goroutine wants to know of progress
	progress chan struct{} // has room for one; made with the model
}

// chunk is a part of the list: units [lo, hi) of a tensor, whole runs of rows.
type chunk struct {
	tensor *tensorState
	piece  model.Piece
	units  []int
	bytes  int64
}

// ReadAhead reads the pieces in the background, a window ahead of what Verify has seen, and forgets the list of an earlier call.
// What cannot be read ahead is read when it is verified: there are no errors here.
func (m *Model) ReadAhead(order []model.Piece) {
	r := &m.reader
	r.mu.Lock()
	defer r.mu.Unlock()
	m.endReader()
	if !m.mapped || m.closed.Load() {
		return
	}
	var list []chunk
	for _, p := range order {
		if t := m.tensors[p.Name]; t != nil && t.CheckSlice(p.Rows, p.K, m.manifest.Leaf) == nil {
			m.keepSmall(t, p)
			list = appendChunks(list, t, p)
		}
	}
	stop := make(chan struct{})
	r.stop = stop
	r.done.Go(func() { m.readAhead(queue{list: list, window: r.window}, stop) })
}

// keepSmall sees to it that a rank which needs some columns of a matrix does not read the others with them.
func (m *Model) keepSmall(t *tensorState, p model.Piece) {
	if p.K.Len() == t.K {
		return
	}
	page := int64(os.Getpagesize())
	lo, hi := roundUp(t.Offset, page), (t.Offset+t.Bytes)/page*page
	if lo < hi {
		adviseHuge(m.data[lo:hi], false)
	}
}

// endReader ends the goroutine, if there is one. The caller holds mu.
func (m *Model) endReader() {
	if m.reader.stop != nil {
		close(m.reader.stop)
		m.reader.done.Wait()
		m.reader.stop = nil
	}
}

// appendChunks cuts a piece into chunks of about readerChunk bytes.
func appendChunks(list []chunk, t *tensorState, p model.Piece) []chunk {
	c := chunk{tensor: t, piece: p}
	for i := range t.UnitsOf(p.Rows, p.K) {
		u := t.UnitAt(i)
		if n := len(c.units); n > 0 && c.bytes >= readerChunk && u.Rows.Lo >= c.piece.Rows.Hi {
			list = append(list, c)
			c = chunk{tensor: t, piece: p}
		}
		if len(c.units) == 0 {
			c.piece.Rows.Lo = u.Rows.Lo
		}
		c.piece.Rows.Hi = u.Rows.Hi
		c.units = append(c.units, i)
		c.bytes += u.Size()
	}
	if len(c.units) > 0 {
		list = append(list, c)
	}
	return list
}

// queue is the reader's list and how far it has come.
type queue struct {
	list    []chunk
	next    int   // chunk to ask for
	first   int   // chunk that is not known to be verified
	pending int64 // bytes of list[first:next]
	window  int64 // that pending may not pass
}

// take gives the next chunk to ask for, or with false the chunk that has to be verified before there is one, or nil at the end.
func (q *queue) take() (c *chunk, ok bool) {
	for ; q.first < q.next && q.list[q.first].good(); q.first++ {
		q.pending -= q.list[q.first].bytes
	}
	if q.next == len(q.list) {
		return nil, false
	}
	if q.pending >= q.window {
		return &q.list[q.first], false
	}
	c = &q.list[q.next]
	q.next++
	q.pending += c.bytes
	return c, true
}

// readAhead fetches one chunk after the other, some of them side by side.
func (m *Model) readAhead(q queue, stop <-chan struct{}) {
	fetching := make(chan struct{}, readerStreams)
	for {
		c, ok := q.take()
		if c == nil || !ok && !m.reader.wait(c, stop) {
			return
		}
		if !ok || c.good() {
			continue
		}
		select {
		case <-stop:
			return
		case fetching <- struct{}{}:
		}
		wanted := *c
		m.reader.done.Go(func() {
			m.fetch(&wanted)
			<-fetching
		})
	}
}

// good says whether all units of the chunk are verified.
func (c *chunk) good() bool {
	for len(c.units) > 0 && c.tensor.isGood(c.units[len(c.units)-1]) {
		c.units = c.units[:len(c.units)-1]
	}
	return len(c.units) == 0
}

// fetch has a chunk read: whole rows by touching them, which takes as long as the disk does, others by asking for their pages.
func (m *Model) fetch(c *chunk) {
	a := m.newAhead(c.tensor, c.piece.Rows, c.piece.K)
	first := int64(c.piece.Rows.Lo / a.step)
	if a.touches {
		page := int64(os.Getpagesize())
		lo := a.t.Offset + first*a.panel
		lo -= lo % page
		if touch(m.data[lo : a.t.Offset+a.end()*a.panel]) {
			return
		}
	}
	a.ask(first, a.end())
}

// wait returns when a unit was verified, unless the chunk is good by then, or with false when the reader has to stop.
func (r *reader) wait(c *chunk, stop <-chan struct{}) bool {
	r.waiting.Store(true)
	defer r.waiting.Store(false)
	if c.good() {
		return true
	}
	select {
	case <-r.progress:
		return true
	case <-stop:
		return false
	}
}

// verified tells a reader that waits of progress.
func (r *reader) verified() {
	if r.waiting.Load() {
		select {
		case r.progress <- struct{}{}:
		default:
		}
	}
}
