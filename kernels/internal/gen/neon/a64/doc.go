// Package a64 writes Go assembly for arm64 that uses instructions the Go assembler has no names for: each goes out as a WORD with its
// GNU syntax as a comment. Encode checks every register, lane and shift and refuses what does not fit its field; nothing is
// masked. Loads, stores, integers and branches keep the Go assembler's own mnemonics, which it checks itself.
package a64
