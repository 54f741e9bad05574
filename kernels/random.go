package kernels

import (
	"encoding/binary"
	"math"
)

// PackRandom fills dst with one packed panel of n rows by k seeded random weights, uniform around zero with standard
// deviation std, straight in packed form: Blocks(k)*f.BlockBytes() bytes, missing rows and k's zero. The bytes
// depend on the arguments alone, so any split of a matrix over machines or threads gives the same matrix.
func PackRandom(dst []byte, f Format, n, k int, std float32, seed, panel uint64) {
	size := f.BlockBytes()
	for b := range Blocks(k) {
		block := dst[b*size : (b+1)*size]
		words := counter{at: mix(mix(seed)+panel) + uint64(b)<<32}
		clearBlock(block, f)
		count := min(BlockK, k-b*BlockK)
		switch f {
		case F32, BF16:
			randomFloats(block, f, n, count, std, &words)
		case Q8, Q4:
			randomQuants(block, f, n, count, std, &words)
		}
	}
}

// counter is a stream of 64 random bits per step.
type counter struct{ at uint64 }

func (c *counter) next() uint64 {
	c.at++
	return mix(c.at * 0x9e3779b97f4a7c15)
}

// mix is the finaliser of SplitMix64 (Steele, Lea and Flood 2014).
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func randomFloats(block []byte, f Format, n, count int, std float32, words *counter) {
	unit := std * float32(math.Sqrt(3)) / (1 << 31)
	for row := range n {
		for k := range count {
			w := float32(int32(words.next())) * unit
			if f == F32 {
				binary.LittleEndian.PutUint32(block[(k*PanelRows+row)*4:], math.Float32bits(w))
			} else {
				binary.LittleEndian.PutUint16(block[(k/2*PanelRows+row)*4+k%2*2:], F32ToBF16(w))
			}
		}
	}
}

func randomQuants(block []byte, f Format, n, count int, std float32, words *counter) {
	spread := float32(73.9) // standard deviation of a byte
	if f == Q4 {
		spread = 4.64
	}
	scale := F32ToF16(std / spread)
	for row := range n {
		binary.LittleEndian.PutUint16(block[2*row:], scale^uint16(words.next()>>63<<15))
		for k := range count {
			r := byte(words.next())
			if f == Q8 {
				block[32+k/4*64+row*4+k%4] = r
				continue
			}
			at := &block[32+k%16/4*64+row*4+k%4]
			shift := k / 16 * 4
			*at = *at&^(15<<shift) | r&15<<shift
		}
	}
}
