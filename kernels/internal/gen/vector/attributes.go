package main

import "github.com/mmcloughlin/avo/attr"

const (
	noSplit    = attr.NOSPLIT
	attributes = attr.RODATA | attr.NOPTR
)
