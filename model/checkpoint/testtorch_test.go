package checkpoint

import (
	"encoding/binary"
	"hash/crc32"
	"math"
)

// pickleStyle varies what is equivalent in pickles.
type pickleStyle struct {
	protocol   byte // 2 if none
	ordered    bool // an OrderedDict with attributes, as Module.state_dict gives it
	parameters bool // parameters instead of tensors
}

// pickleWriter appends instructions.
type pickleWriter struct {
	code     []byte
	protocol byte
	memo     int
}

func newPickle(protocol byte) *pickleWriter {
	w := &pickleWriter{protocol: protocol}
	w.raw(opProto, protocol)
	if protocol >= 4 {
		w.raw(opFrame, 0, 0, 0, 0, 0, 0, 0, 0) // its length is of no interest to a reader that has it all
	}
	return w
}

func (w *pickleWriter) raw(code ...byte) *pickleWriter {
	w.code = append(w.code, code...)
	return w
}

// put memoises the topmost value, as every pickler does after whatever it might need again.
func (w *pickleWriter) put() *pickleWriter {
	switch {
	case w.protocol >= 4:
		w.raw(opMemoize)
	case w.memo < 256:
		w.raw(opBinPut, byte(w.memo))
	default:
		w.raw(opLongBinPut)
		w.code = binary.LittleEndian.AppendUint32(w.code, uint32(w.memo))
	}
	w.memo++
	return w
}

func (w *pickleWriter) text(s string) *pickleWriter {
	if w.protocol >= 4 && len(s) < 256 {
		w.raw(opShortBinUnicode, byte(len(s)))
	} else {
		w.raw(opBinUnicode)
		w.code = binary.LittleEndian.AppendUint32(w.code, uint32(len(s)))
	}
	w.code = append(w.code, s...)
	return w
}

func (w *pickleWriter) int(n int64) *pickleWriter {
	switch {
	case n >= 0 && n < 256:
		return w.raw(opBinInt1, byte(n))
	case n >= 0 && n < 1<<16:
		return w.raw(opBinInt2, byte(n), byte(n>>8))
	case n >= math.MinInt32 && n <= math.MaxInt32:
		w.raw(opBinInt)
		w.code = binary.LittleEndian.AppendUint32(w.code, uint32(n))
	default:
		w.raw(opLong1, 8)
		w.code = binary.LittleEndian.AppendUint64(w.code, uint64(n))
	}
	return w
}

func (w *pickleWriter) ints(numbers []int64) *pickleWriter {
	if len(numbers) == 0 {
		return w.raw(opEmptyTuple)
	}
	if len(numbers) > 3 {
		w.raw(opMark)
	}
	for _, n := range numbers {
		w.int(n)
	}
	return w.raw([]byte{opTuple1, opTuple2, opTuple3, opTuple}[min(len(numbers), 4)-1]).put()
}

func (w *pickleWriter) global(module, name string) *pickleWriter {
	if w.protocol >= 4 {
		return w.text(module).put().text(name).put().raw(opStackGlobal).put()
	}
	w.raw(opGlobal)
	w.code = append(w.code, module+"\n"+name+"\n"...)
	return w.put()
}

func (w *pickleWriter) storage(class, key string, elements int64) *pickleWriter {
	w.raw(opMark).text("storage").put().global("torch", class).text(key).put().text("cpu").put().int(elements)
	return w.raw(opTuple).put().raw(opBinPersID)
}

func (w *pickleWriter) orderedDict() *pickleWriter {
	return w.global("collections", "OrderedDict").raw(opEmptyTuple, opReduce).put()
}

// tensor pushes a rebuilt tensor.
func (w *pickleWriter) tensor(t fileTensor) *pickleWriter {
	w.global("torch._utils", "_rebuild_tensor_v2").raw(opMark)
	w.storage(dtypes[t.dtype].torch, t.key, t.elements)
	w.int(t.offset).ints(t.shape).ints(t.stride).raw(opNewFalse).orderedDict()
	return w.raw(opTuple).put().raw(opReduce).put()
}

// stop ends the pickle.
func (w *pickleWriter) stop() []byte { return append(w.code, opStop) }

// pickleTensors writes a state dictionary.
func pickleTensors(tensors []fileTensor, style pickleStyle) []byte {
	w := newPickle(max(style.protocol, 2))
	if style.ordered {
		w.orderedDict()
	} else {
		w.raw(opEmptyDict).put()
	}
	w.raw(opMark)
	for _, tensor := range tensors {
		w.text(tensor.name).put()
		if style.parameters {
			w.global("torch._utils", "_rebuild_parameter").raw(opMark).tensor(tensor)
			w.raw(opNewTrue).orderedDict().raw(opTuple).put().raw(opReduce).put()
		} else {
			w.tensor(tensor)
		}
	}
	w.raw(opSetItems)
	if style.ordered { // {"_metadata": OrderedDict([("", {"version": 1})])}
		w.raw(opEmptyDict).put().text("_metadata").put().orderedDict().text("").put()
		w.raw(opEmptyDict).put().text("version").put().int(1).raw(opSetItem, opSetItem, opSetItem, opBuild)
	}
	return w.stop()
}

// zipStyle varies what is equivalent in archives.
type zipStyle struct {
	narrow    bool   // no zip64 end record, as other writers than torch
	byteorder string // content of that entry, if any
	folder    string // "archive" if none
}

// encodeTorch writes what torch.save writes.
func encodeTorch(tensors []fileTensor, style pickleStyle, zip zipStyle) []byte {
	return torchArchive(pickleTensors(tensors, style), tensors, zip).encode()
}

// torchArchive puts a pickle and the storages of tensors into an archive.
func torchArchive(pickle []byte, tensors []fileTensor, zip zipStyle) *testZip {
	folder := zip.folder
	if folder == "" {
		folder = "archive"
	}
	z := &testZip{narrow: zip.narrow}
	z.add(folder+"/data.pkl", pickle)
	if zip.byteorder != "" {
		z.add(folder+"/byteorder", []byte(zip.byteorder))
	}
	seen := map[string]bool{}
	for _, tensor := range tensors {
		if !seen[tensor.key] {
			z.add(folder+"/data/"+tensor.key, tensor.data)
			seen[tensor.key] = true
		}
	}
	z.add(folder+"/version", []byte("3\n"))
	return z
}

// testZip is an archive that can be forged before it is written.
type testZip struct {
	narrow  bool
	entries []*testZipEntry
	forge   func(end *testZipEnd)
}

// testZipEntry holds what the central directory says of an entry; encode fills it in and
// then lets forge change it.
type testZipEntry struct {
	name          string
	data          []byte
	method, flags uint16
	size, packed  uint64
	offset        uint64
	forge         func(*testZipEntry)
}

// testZipEnd holds what the end records say.
type testZipEnd struct {
	records, length, offset uint64
	locator                 uint64
	narrowRecords           uint16
	prefix, suffix          []byte // around the archive
}

func (z *testZip) add(name string, data []byte) *testZipEntry {
	entry := &testZipEntry{name: name, data: data, flags: 0x0808}
	z.entries = append(z.entries, entry)
	return entry
}

// entry finds an entry by the end of its name.
func (z *testZip) entry(suffix string) *testZipEntry {
	for _, entry := range z.entries {
		if len(entry.name) >= len(suffix) && entry.name[len(entry.name)-len(suffix):] == suffix {
			return entry
		}
	}
	panic("no entry " + suffix)
}

// encode writes the archive as torch does: stored entries, data aligned to 64 bytes with an
// extra field, sizes only in the descriptor and the directory, zip64 end records.
func (z *testZip) encode() []byte {
	var out, directory []byte
	le := binary.LittleEndian
	for _, entry := range z.entries {
		entry.offset = uint64(len(out))
		entry.size, entry.packed = uint64(len(entry.data)), uint64(len(entry.data))
		out = append(out, zipLocalMark...)
		out = le.AppendUint16(out, 0)
		out = le.AppendUint16(out, entry.flags)
		out = append(out, make([]byte, 18)...) // method, time, sum and sizes
		out = le.AppendUint16(out, uint16(len(entry.name)))
		pad := 64 - (len(out)+2+len(entry.name)+4)%64
		out = le.AppendUint16(out, uint16(4+pad))
		out = append(out, entry.name...)
		out = append(out, 'F', 'B')
		out = le.AppendUint16(out, uint16(pad))
		for range pad {
			out = append(out, 'Z')
		}
		out = append(out, entry.data...)
		out = append(out, "PK\x07\x08"...)
		out = le.AppendUint32(out, crc32.ChecksumIEEE(entry.data))
		out = le.AppendUint32(out, uint32(len(entry.data)))
		out = le.AppendUint32(out, uint32(len(entry.data)))
		if entry.forge != nil {
			entry.forge(entry)
		}
		directory = append(directory, entry.central()...)
	}
	end := testZipEnd{records: uint64(len(z.entries)), length: uint64(len(directory)), offset: uint64(len(out)),
		narrowRecords: uint16(len(z.entries))}
	out = append(out, directory...)
	end.locator = uint64(len(out))
	if z.forge != nil {
		z.forge(&end)
	}
	if !z.narrow {
		out = append(out, zipEnd64Mark...)
		out = le.AppendUint64(out, zipEnd64Size-12)
		out = append(out, make([]byte, 12)...)
		for _, n := range []uint64{end.records, end.records, end.length, end.offset} {
			out = le.AppendUint64(out, n)
		}
		out = append(out, zipLocator64Mark...)
		out = le.AppendUint32(out, 0)
		out = le.AppendUint64(out, end.locator)
		out = le.AppendUint32(out, 1)
	}
	out = append(out, zipEndMark...)
	out = append(out, make([]byte, 4)...)
	out = le.AppendUint16(out, end.narrowRecords)
	out = le.AppendUint16(out, end.narrowRecords)
	out = le.AppendUint32(out, uint32(min(end.length, math.MaxUint32)))
	out = le.AppendUint32(out, uint32(min(end.offset, math.MaxUint32)))
	out = le.AppendUint16(out, 0)
	return append(append(end.prefix, out...), end.suffix...)
}

// central writes the entry's record of the directory, with a zip64 field where it needs one.
func (e *testZipEntry) central() []byte {
	le := binary.LittleEndian
	var extra []byte
	narrow := func(n uint64) uint32 {
		if n < math.MaxUint32 {
			return uint32(n)
		}
		extra = le.AppendUint64(extra, n)
		return math.MaxUint32
	}
	out := append([]byte(zipCentralMark), 0, 0, 0, 0)
	out = le.AppendUint16(out, e.flags)
	out = le.AppendUint16(out, e.method)
	out = append(out, make([]byte, 4)...)
	out = le.AppendUint32(out, crc32.ChecksumIEEE(e.data))
	size := narrow(e.size) // before packed in the zip64 field, after it in the record
	out = le.AppendUint32(out, narrow(e.packed))
	out = le.AppendUint32(out, size)
	offset := narrow(e.offset)
	if extra != nil {
		extra = append(le.AppendUint16(le.AppendUint16(nil, zipExtra64), uint16(len(extra))), extra...)
	}
	out = le.AppendUint16(out, uint16(len(e.name)))
	out = le.AppendUint16(out, uint16(len(extra)))
	out = append(out, make([]byte, 10)...)
	out = le.AppendUint32(out, offset)
	out = append(out, e.name...)
	return append(out, extra...)
}
