// Command vector writes the row operations of an amd64 tier, element-wise functions, sums over 16 lanes, quantisation and the vectors of
// the KV cache: vector_amd64.s of package avx512 or of package avx2.
//
// One program serves both tiers. The unit is the group, 16 lanes: one register of 512 bits or two of 256. Lengths are multiples of 16
// elements and at least that; Go does what is left.
package main

import (
	"flag"
	"log"

	. "github.com/mmcloughlin/avo/build"
)

func main() {
	tier := flag.String("tier", "", "avx512 or avx2")
	flag.Parse()
	switch *tier {
	case "avx512":
		wide = true
	case "avx2":
	default:
		log.Fatalf("tier %q: want avx512 or avx2", *tier)
	}
	sumLanes()
	sumSquares()
	normalise()
	exp()
	gelu()
	geluErf()
	finish()
	add()
	addInt32()
	addScaled()
	divide()
	loadGroups()
	storeHalves()
	loadHalves()
	if !wide { // the AVX-512 tier calls these too: they are no slower, or too rare to be worth two versions
		quantise(together)
		quantise(1)
		storeGroups()
		unpackQ8()
		unpackQ4()
	}
	Generate()
}
