package kernels

import "testing"

// forEachTier runs a test on every tier of this machine.
func forEachTier(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	for _, tier := range Tiers() {
		t.Run("tier="+tier.String(), test)
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
}
