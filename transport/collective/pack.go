package collective

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
)

// errPacked reports bytes that are no packed sums.
var errPacked = errors.New("malformed sums")

// Packed sums are their number as an unsigned varint, and runs of packRun of them. A run is a byte, the width w of its values in bits, and packRun values of w bits each, after
// folding the sign into the lowest bit. Where w is above 16, the low halves come first, two bytes each, and then
// packRun values of w-16 bits. Values lie one behind the other from the lowest bit up. The last run is filled with zeros.
//
// Eight values of w bits are w bytes, so nothing but whole groups of eight is ever moved.
const (
	packRun   = 64
	packGroup = 8
	packSlack = 2 * 8 // what packing writes too far at most

	packedHead   = binary.MaxVarintLen32
	packedRunMax = 1 + 4*packRun
)

// packedMax is the most bytes that n packed sums can have.
func packedMax(n int) int {
	return packedHead + (n+packRun-1)/packRun*packedRunMax
}

// appendPacked appends sums, packed, to buf.
func appendPacked(buf []byte, sums []int32) []byte {
	buf = slices.Grow(buf, packedMax(len(sums))+packSlack)
	buf = binary.AppendUvarint(buf, uint64(len(sums)))
	var last [packRun]int32
	for len(sums) > 0 {
		if len(sums) < packRun {
			copy(last[:], sums)
			sums = last[:]
		}
		at := len(buf)
		n := packOne(buf[at:at+packedRunMax+packSlack], (*[packRun]int32)(sums))
		buf = buf[:at+n]
		sums = sums[packRun:]
	}
	return buf
}

// packOne packs a run and returns its length.
func packOne(buf []byte, run *[packRun]int32) int {
	var all uint32
	for _, v := range run {
		all |= fold(v)
	}
	width := bits.Len32(all)
	buf[0] = byte(width)
	if width <= 16 {
		packNarrow(buf[1:], run, uint(width), 0)
	} else {
		low := (*[2 * packRun]byte)(buf[1:])
		for i := 0; i < packRun; i += 4 {
			v := (*[4]int32)(run[i:])
			four := uint64(fold(v[0])&0xffff) | uint64(fold(v[1])&0xffff)<<16 | uint64(fold(v[2])&0xffff)<<32 | uint64(fold(v[3]))<<48
			binary.LittleEndian.PutUint64(low[2*i:], four)
		}
		packNarrow(buf[1+2*packRun:], run, uint(width-16), 16)
	}
	return runBytes(width)
}

// runBytes is the length of a run of some width.
func runBytes(width int) int { return 1 + width*(packRun/8) }

// fold makes small numbers of either sign small numbers.
func fold(v int32) uint32 { return uint32(v)<<1 ^ uint32(v>>31) }

func unfold(v uint64) int32 { return int32(uint32(v)>>1) ^ -int32(v&1) }

// packNarrow packs the bits of a run from skip up, which are no more than 16.
func packNarrow(buf []byte, run *[packRun]int32, width, skip uint) {
	// Shifts are written so that the compiler need not check for those of 64 bits and more, which come twice as half.
	one, two, three := width&63, 2*width&63, 3*width&63
	skip &= 31
	for i := 0; i < packRun; i += packGroup {
		v := (*[packGroup]int32)(run[i:])
		low := uint64(fold(v[0])>>skip) | uint64(fold(v[1])>>skip)<<one | uint64(fold(v[2])>>skip)<<two | uint64(fold(v[3])>>skip)<<three
		high := uint64(fold(v[4])>>skip) | uint64(fold(v[5])>>skip)<<one | uint64(fold(v[6])>>skip)<<two | uint64(fold(v[7])>>skip)<<three
		to := (*[2 * 8]byte)(buf)
		binary.LittleEndian.PutUint64(to[:], low|high<<two<<two)
		binary.LittleEndian.PutUint64(to[8:], high>>((64-4*width)&63))
		buf = buf[width:]
	}
}

// addPacked adds packed sums to sums. data has to be exactly as many.
func addPacked(sums []int32, data []byte) error { return unpack(sums, data, -1) }

// setPacked replaces sums by packed ones.
func setPacked(sums []int32, data []byte) error { return unpack(sums, data, 0) }

// unpack adds what data holds to those bits of sums that keep names.
func unpack(sums []int32, data []byte, keep int32) error {
	total, n := binary.Uvarint(data)
	if n <= 0 || total != uint64(len(sums)) {
		return fmt.Errorf("%w: they are not %d", errPacked, len(sums))
	}
	data = data[n:]
	var last [packRun]int32
	var padded [packedRunMax + packSlack]byte
	for len(sums) > 0 {
		if len(data) == 0 {
			return fmt.Errorf("%w: %d of %d values missing", errPacked, len(sums), total)
		}
		width := int(data[0])
		size := runBytes(width)
		if width > 32 || len(data) < size {
			return fmt.Errorf("%w: a run of width %d, %d bytes left", errPacked, width, len(data))
		}
		packed := data
		if len(data) < size+packSlack { // whole groups are read, too
			copy(padded[:], data)
			packed = padded[:]
		}
		data = data[size:]
		if len(sums) >= packRun {
			unpackOne((*[packRun]int32)(sums), packed, uint(width), keep)
			sums = sums[packRun:]
			continue
		}
		copy(last[:], sums)
		unpackOne(&last, packed, uint(width), keep)
		copy(sums, last[:])
		sums = nil
	}
	if len(data) > 0 {
		return fmt.Errorf("%w: %d bytes too many", errPacked, len(data))
	}
	return nil
}

// unpackOne unpacks the run at the start of data, which is there with packSlack bytes behind it.
func unpackOne(run *[packRun]int32, data []byte, width uint, keep int32) {
	if width > 16 {
		unpackWide(run, (*[2 * packRun]byte)(data[1:]), data[1+2*packRun:], width-16, keep)
		return
	}
	data = data[1:]
	one, two, rest := width&63, 2*width&63, (64-4*width)&63
	mask := uint64(1)<<one - 1
	for i := 0; i < packRun; i += packGroup {
		from := (*[2 * 8]byte)(data)
		a, b := binary.LittleEndian.Uint64(from[:]), binary.LittleEndian.Uint64(from[8:])
		c := a>>two>>two | b<<rest
		v := (*[packGroup]int32)(run[i:])
		v[0] = v[0]&keep + unfold(a&mask)
		v[4] = v[4]&keep + unfold(c&mask)
		a, c = a>>one, c>>one
		v[1] = v[1]&keep + unfold(a&mask)
		v[5] = v[5]&keep + unfold(c&mask)
		a, c = a>>one, c>>one
		v[2] = v[2]&keep + unfold(a&mask)
		v[6] = v[6]&keep + unfold(c&mask)
		a, c = a>>one, c>>one
		v[3] = v[3]&keep + unfold(a&mask)
		v[7] = v[7]&keep + unfold(c&mask)
		data = data[width:]
	}
}

// unpackWide is unpackOne with 16 more bits of each value, which lie apart.
func unpackWide(run *[packRun]int32, lows *[2 * packRun]byte, data []byte, width uint, keep int32) {
	one, two, rest := width&63, 2*width&63, (64-4*width)&63
	mask := (uint64(1)<<one - 1) << 16
	const low = 1<<16 - 1
	for i := 0; i < packRun; i += packGroup {
		from := (*[2 * 8]byte)(data)
		a, b := binary.LittleEndian.Uint64(from[:]), binary.LittleEndian.Uint64(from[8:])
		c := a>>two>>two | b<<rest
		x, y := binary.LittleEndian.Uint64(lows[2*i:]), binary.LittleEndian.Uint64(lows[2*i+8:])
		v := (*[packGroup]int32)(run[i:])
		v[0] = v[0]&keep + unfold(a<<16&mask|x&low)
		v[4] = v[4]&keep + unfold(c<<16&mask|y&low)
		a, c = a>>one, c>>one
		v[1] = v[1]&keep + unfold(a<<16&mask|x>>16&low)
		v[5] = v[5]&keep + unfold(c<<16&mask|y>>16&low)
		a, c = a>>one, c>>one
		v[2] = v[2]&keep + unfold(a<<16&mask|x>>32&low)
		v[6] = v[6]&keep + unfold(c<<16&mask|y>>32&low)
		a, c = a>>one, c>>one
		v[3] = v[3]&keep + unfold(a<<16&mask|x>>48)
		v[7] = v[7]&keep + unfold(c<<16&mask|y>>48)
		data = data[width:]
	}
}
