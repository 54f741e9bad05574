package a64

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrRange reports a register, lane or shift that its instruction cannot encode, or a wrong number of them.
var ErrRange = errors.New("a64: out of range")

// Encode is an instruction's word and its GNU syntax. The arguments stand for the places of its Syntax from left to right.
func Encode(op Op, args ...int) (word uint32, text string, err error) {
	word = op.Base
	var out strings.Builder
	rest := op.Syntax
	for _, arg := range args {
		before, after, found := strings.Cut(rest, "%")
		if !found || after == "" {
			return 0, "", fmt.Errorf("%w: %d arguments for %q", ErrRange, len(args), op.Syntax)
		}
		bits, err := field(op, after[0], arg)
		if err != nil {
			return 0, "", err
		}
		word |= bits
		out.WriteString(before + strconv.Itoa(arg))
		rest = after[1:]
	}
	if strings.Contains(rest, "%") {
		return 0, "", fmt.Errorf("%w: %d arguments for %q", ErrRange, len(args), op.Syntax)
	}
	// MOV is ORR with one source in both places.
	if op == MOV {
		word |= uint32(args[1]) << 16
	}
	return word, out.String() + rest, nil
}

// field is an argument in its place of the word.
func field(op Op, place byte, arg int) (uint32, error) {
	v, fits := uint32(arg), arg >= 0 && arg < 32
	switch place {
	case 'n':
		v <<= 5
		fits = fits && !(arg == 31 && strings.Contains(op.Syntax, "w%n")) // there it is no register
	case 'm':
		v <<= 16
	case 'i':
		v, fits = op.Index.encode(arg)
	}
	if !fits {
		return 0, fmt.Errorf("%w: %%%c = %d in %q", ErrRange, place, arg, op.Syntax)
	}
	return v, nil
}

// encode is a lane or shift in its place of the word, and whether it fits.
func (x Index) encode(i int) (uint32, bool) {
	v := uint32(i)
	switch x {
	case LaneS:
		return v>>1<<11&(1<<11) | v&1<<21, i >= 0 && i < 4
	case DupS:
		return (v<<3 | 4) << 16, i >= 0 && i < 4
	case DupD:
		return (v<<4 | 8) << 16, i >= 0 && i < 2
	case Left32:
		return (32 + v) << 16, i >= 0 && i < 32
	case Right8:
		return (16 - v) << 16, i >= 1 && i <= 8
	}
	return 0, false
}
