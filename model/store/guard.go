package store

import (
	"runtime/debug"
	"unsafe"

	"polynode/kernels"
	"polynode/shard"
)

// guard runs a function that reads the map. A disk that fails, or a file that somebody cut, faults there: that ends as
// an error and not as a crash.
func (m *Model) guard(read func() error) (err error) {
	if !m.mapped {
		return read()
	}
	previous := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(previous)
		switch fault := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }:
			err = &CorruptError{File: m.file, Offset: m.offsetOf(fault.Addr()),
				Reason: "cannot be read any more (the file was changed or its disk failed)"}
		default:
			panic(fault)
		}
	}()
	return read()
}

// offsetOf turns an address in the map into an offset in the file.
func (m *Model) offsetOf(addr uintptr) int64 {
	return int64(addr - uintptr(unsafe.Pointer(unsafe.SliceData(m.data))))
}

// readAhead is how many bytes verification asks the system for before it needs them.
const readAhead = 8 << 20

// ahead asks the system for the rows of a slice shortly before they are hashed, so that a cold disk is read in large
// pieces while the processor hashes.
type ahead struct {
	m     *Model
	t     *Tensor
	next  int // first row not asked for
	rows  shard.Slice
	part  section // of one panel, from the start of the panel
	step  int     // rows in a panel
	panel int64   // bytes in a panel

	touches bool // whole rows, which the system reads in large pages when they are touched and not asked for
}

func (m *Model) newAhead(t *tensorState, rows, k shard.Slice) ahead {
	a := ahead{m: m, t: t.Tensor, next: rows.Lo, rows: rows}
	f := t.kernel()
	if f == 0 {
		a.step, a.panel = 1, 4*int64(t.K)
		a.part = section{0, a.panel}
		return a
	}
	a.step, a.panel = kernels.PanelRows, int64(kernels.Blocks(t.K)*f.BlockBytes())
	lo := int64(k.Lo / kernels.BlockK * f.BlockBytes())
	a.part = section{lo, int64(kernels.Blocks(k.Hi)*f.BlockBytes()) - lo}
	a.touches = canTouch && a.part.size == a.panel
	return a
}

// reach is called before row is read.
func (a *ahead) reach(row int) {
	if a.touches || !a.m.mapped || a.next >= a.rows.Hi || row < a.next-a.step*int(readAhead/2/a.panel) {
		return
	}
	count := max(1, readAhead/a.panel)
	first := int64(max(a.next, row) / a.step)
	last := min(first+count, a.end())
	a.ask(first, last)
	a.next = int(last) * a.step
}

// end is the number of panels up to the end of the slice.
func (a *ahead) end() int64 { return int64((a.rows.Hi + a.step - 1) / a.step) }

// ask asks for the slice's part of panels [first, last).
func (a *ahead) ask(first, last int64) {
	if a.part.size == a.panel {
		adviseSoon(a.m.data, a.t.Offset+first*a.panel, a.t.Offset+last*a.panel)
		return
	}
	for p := first; p < last; p++ {
		at := a.t.Offset + p*a.panel + a.part.offset
		adviseSoon(a.m.data, at, at+a.part.size)
	}
}
