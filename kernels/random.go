package kernels

import (
	"encoding/binary"
	"math"
)

// Standard deviations of what PackRandom's random bits are before they are scaled: a byte minus 128, a level
// of Q4, and a number uniform in [-1, 1).
const (
	byteSpread    = 73.9036
	levelSpread   = 31.615859
	uniformSpread = 0.57735027
)

// PackRandom fills dst with one packed panel of n rows by k seeded random weights, uniform around zero with standard
// deviation std, straight in packed form: Blocks(k)*f.BlockBytes() bytes, missing rows and k's as in PackPanel. The bytes of a block
// depend on the format, std, seed, panel and the block's number alone, so any split of a matrix over machines or threads gives the
// same matrix.
//
// Quantised weights take all values of their bits, -128 and all levels of Q4; what that moves the mean by is undone by giving
// each row of each block a scale of random sign.
func PackRandom(dst []byte, f Format, n, k int, std float32, seed, panel uint64) {
	size := f.BlockBytes()
	for b := range Blocks(k) {
		block := dst[b*size : (b+1)*size]
		words := counter(mix(mix(mix(seed)+panel) + uint64(b)))
		switch f {
		case F32:
			randomF32(block, &words, std/uniformSpread)
		case BF16:
			randomBF16(block, &words, std/uniformSpread)
		case Q8:
			randomQuants(block, &words, F32ToF16(std/byteSpread))
		case Q4:
			randomQuants(block, &words, F32ToF16(std/levelSpread))
		}
		if rest := k - b*BlockK; n < PanelRows || rest < BlockK {
			blank(block, f, n, min(rest, BlockK))
		}
	}
}

// counter is a stream of random words: SplitMix64 (Steele, Lea and Flood 2014).
type counter uint64

func (c *counter) next() uint64 {
	*c += 0x9e3779b97f4a7c15
	return mix(uint64(*c))
}

// mix is the finaliser of SplitMix64.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func randomF32(block []byte, words *counter, limit float32) {
	unit := limit / (1 << 31)
	for ; len(block) >= 8; block = block[8:] {
		r := words.next()
		binary.LittleEndian.PutUint32(block, math.Float32bits(float32(int32(r))*unit))
		binary.LittleEndian.PutUint32(block[4:], math.Float32bits(float32(int32(r>>32))*unit))
	}
}

func randomBF16(block []byte, words *counter, limit float32) {
	unit := limit / (1 << 15)
	for ; len(block) >= 8; block = block[8:] {
		r := words.next()
		binary.LittleEndian.PutUint16(block, F32ToBF16(float32(int16(r))*unit))
		binary.LittleEndian.PutUint16(block[2:], F32ToBF16(float32(int16(r>>16))*unit))
		binary.LittleEndian.PutUint16(block[4:], F32ToBF16(float32(int16(r>>32))*unit))
		binary.LittleEndian.PutUint16(block[6:], F32ToBF16(float32(int16(r>>48))*unit))
	}
}

// randomQuants fills a Q8 or Q4 block: scales of random sign, and quants of any bits.
func randomQuants(block []byte, words *counter, scale uint16) {
	signs := words.next()
	for row := range PanelRows {
		binary.LittleEndian.PutUint16(block[2*row:], scale|uint16(signs>>row&1)<<15)
	}
	for block = block[2*PanelRows:]; len(block) >= 8; block = block[8:] {
		binary.LittleEndian.PutUint64(block, words.next())
	}
}

// blank makes a block's rows from n on and its k's from count on what PackPanel writes for missing ones.
func blank(block []byte, f Format, n, count int) {
	for row := range PanelRows {
		if row >= n && f.Quantised() {
			binary.LittleEndian.PutUint16(block[2*row:], 0)
		}
		for k := range BlockK {
			if row >= n || k >= count {
				blankWeight(block, f, row, k)
			}
		}
	}
}

func blankWeight(block []byte, f Format, row, k int) {
	switch f {
	case F32:
		binary.LittleEndian.PutUint32(block[(k*PanelRows+row)*4:], 0)
	case BF16:
		binary.LittleEndian.PutUint16(block[(k/2*PanelRows+row)*4+k%2*2:], 0)
	case Q8:
		block[2*PanelRows+k/4*64+row*4+k%4] = 128
	case Q4:
		at := &block[2*PanelRows+k%16/4*64+row*4+k%4]
		shift := k / 16 * 4
		*at = *at&^(15<<shift) | q4Zero<<shift
	}
}
