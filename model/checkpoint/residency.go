package checkpoint

import "sync"

// residentMax bounds the mapped bytes that stay in this process's memory, unless a single
// tensor that is read across its grain is larger.
const residentMax = 256 << 20

// residency counts the mapped bytes touched since pages were last given back. Without it a
// reader of a 28 GB checkpoint would show as a process of 28 GB, although the system could
// take those pages back at any time.
type residency struct {
	mu         sync.Mutex
	touched    int64
	generation int64 // how often pages were given back
}

// noteRead counts what a call of ReadRows is about to touch and gives all pages back first
// if that would be too much. A reader beside it only finds its pages in the system's cache
// again.
func (c *Checkpoint) noteRead(t *Tensor, rows int) {
	r := &c.resident
	r.mu.Lock()
	defer r.mu.Unlock()
	size := t.stored.dtype.size()
	count := int64(rows) * int64(t.cols) * size
	if t.colStride != 1 {
		// Rows that lie apart touch every page of the tensor: its whole span counts, once.
		if t.generation == r.generation+1 {
			return
		}
		count = (int64(t.rows-1)*t.rowStride + int64(t.cols-1)*t.colStride + 1) * size
	}
	if r.touched > 0 && r.touched+count > residentMax {
		for _, f := range c.files {
			f.forget()
		}
		r.touched = 0
		r.generation++
	}
	r.touched += count
	t.generation = r.generation + 1
}
