package kernels

import (
	"errors"
	"slices"
	"testing"
)

// forEachTier runs a test on every tier of this machine.
func forEachTier(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	before := Active()
	defer Use(before)
	for _, tier := range Tiers() {
		if err := Use(tier); err != nil {
			t.Fatal(err)
		}
		t.Run("tier="+tier.String(), test)
	}
}

// benchEachTier runs a benchmark on every tier of this machine.
func benchEachTier(b *testing.B, bench func(b *testing.B)) {
	b.Helper()
	before := Active()
	defer Use(before)
	for _, tier := range Tiers() {
		if err := Use(tier); err != nil {
			b.Fatal(err)
		}
		b.Run("tier="+tier.String(), bench)
	}
}

func TestTiers(t *testing.T) {
	tiers := Tiers()
	if len(tiers) == 0 || tiers[len(tiers)-1] != Generic {
		t.Fatalf("tiers %v do not end in generic", tiers)
	}
	if Active() != tiers[0] {
		t.Errorf("active tier %v is not the fastest of %v", Active(), tiers)
	}
	if got := Tier(99).String(); got != "tier(99)" {
		t.Errorf("unknown tier is called %q", got)
	}
	if err := Use(Tier(99)); !errors.Is(err, ErrTier) || Active() != tiers[0] {
		t.Errorf("an unknown tier gives %v and leaves %v", err, Active())
	}
}

func TestTiersSwitchedOff(t *testing.T) {
	for off, want := range map[string][]Tier{
		"":                     {AVX512, AVX2, Generic},
		"avx512":               {AVX2, Generic},
		"avx2 ,avx512,generic": {Generic},
		"avx":                  {AVX512, AVX2, Generic},
	} {
		if got := without([]Tier{AVX512, AVX2, Generic}, off); !slices.Equal(got, want) {
			t.Errorf("without %q: %v, want %v", off, got, want)
		}
	}
}
