package kernels

import "fmt"

// Tier is one implementation of the package's functions. All tiers give the same bits; they differ in speed and
// in what they ask of the processor.
type Tier uint8

// Generic is plain Go: the specification in code, and the tier of every processor without a faster one.
const Generic Tier = 1

// String is the tier's name.
func (t Tier) String() string {
	if t == Generic {
		return "generic"
	}
	return fmt.Sprintf("tier(%d)", uint8(t))
}

// Tiers are the tiers that this processor can run, the fastest first.
func Tiers() []Tier { return []Tier{Generic} }

// Active is the tier that the package's functions run on.
func Active() Tier { return Generic }
