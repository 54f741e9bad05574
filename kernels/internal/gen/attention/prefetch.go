package main

import . "github.com/mmcloughlin/avo/build"

// prefetch writes the function that asks for the lines of a page.
func prefetch() {
	text("Prefetch", "func(p *byte, lines int)",
		"asks for so many lines of 64 bytes, at least one, to be brought to the second level of the cache.")
	p, lines := argument("p"), argument("lines")
	loop("line", lines, func() {
		PREFETCHT1(at(p, 0))
		add(64, p)
	})
	RET()
}
