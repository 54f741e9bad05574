// Command neon writes the assembly of kernels/internal/neon. It is run by the go:generate line of that package.
package main

import (
	"flag"
	"log"

	"polynode/kernels/internal/gen/neon/a64"
)

func main() {
	dir := flag.String("out", "../neon", "the folder of the package")
	flag.Parse()
	for _, file := range []*a64.File{products(), floatProducts(), vectors(), exponentials(), quantisers(), unpackers(), attention(), roofs()} {
		if err := file.Write(*dir); err != nil {
			log.Fatal(err)
		}
	}
}

// run is the numbers of n vector registers from first on.
func run(first, n int) []int {
	regs := make([]int, n)
	for i := range regs {
		regs[i] = first + i
	}
	return regs
}

// panelRows is the rows of a panel, a lane each.
const panelRows = 16
