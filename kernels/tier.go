package kernels

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// ErrTier reports a tier that this processor cannot run, or that was switched off.
var ErrTier = errors.New("kernels: tier")

// Tier is one implementation of the package's functions. All tiers give the same bits; they differ in speed and
// in what they ask of the processor.
type Tier uint8

// The tiers. Zero is no tier.
const (
	Generic Tier = 1 // plain Go: the specification in code, and the tier of every processor without a faster one
	AVX2    Tier = 2 // amd64: AVX2, F16C
	AVX512  Tier = 3 // amd64: AVX-512 F, BW, DQ, VL and VNNI
	NEON    Tier = 4 // arm64: Advanced SIMD with the dot product instructions
	I8MM    Tier = 5 // arm64: the same with 8-bit matrix multiplication
)

var tierNames = map[Tier]string{Generic: "generic", AVX2: "avx2", AVX512: "avx512", NEON: "neon", I8MM: "i8mm"}

// String is the tier's name.
func (t Tier) String() string {
	if name, ok := tierNames[t]; ok {
		return name
	}
	return fmt.Sprintf("tier(%d)", uint8(t))
}

// TiersOff names the environment variable that switches tiers off for the whole process: a list of names, separated by commas or
// spaces. The generic tier cannot be switched off.
const TiersOff = "POLYNODE_TIERS_OFF"

// available are the tiers that may run here, the fastest first; active is the one that does. Only Use writes it.
var (
	available = without(detectTiers(), os.Getenv(TiersOff))
	active    = available[0]
)

// without drops the tiers that are named in a list, and never the generic one.
func without(tiers []Tier, off string) []Tier {
	names := strings.FieldsFunc(off, func(r rune) bool { return r == ',' || r == ' ' })
	return slices.DeleteFunc(tiers, func(t Tier) bool { return t != Generic && slices.Contains(names, t.String()) })
}

// Tiers are the tiers that this processor can run and that were not switched off, the fastest first.
func Tiers() []Tier { return slices.Clone(available) }

// Active is the tier that the package's functions run on: the fastest, unless Use chose another.
func Active() Tier { return active }

// Use makes the package's functions run on a tier. It is for tests and benchmarks: no other function of the package may run
// meanwhile. The error is ErrTier.
func Use(t Tier) error {
	if !slices.Contains(available, t) {
		return fmt.Errorf("%w: %s is none of %v", ErrTier, t, available)
	}
	active = t
	return nil
}
