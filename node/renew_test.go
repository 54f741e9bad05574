package node

import (
	"testing"
	"time"

	"polynode/cluster/trust"
)

// Every node has its certificate renewed by the coordinator when two thirds of its life are over, and not before.
func TestCertificatesAreRenewed(t *testing.T) {
	j := &joined{t: t}
	first := j.up("one", together(1))
	second := j.up("two", together(1))
	j.awaitPlan(2)
	for _, n := range []*Node{first, second} {
		serial := func() string { return first.cluster.State().Nodes[n.self].Serial }
		before, due := serial(), n.member.RenewAt()
		if err := n.renewIfDue(t.Context(), due.Add(-time.Minute)); err != nil || serial() != before {
			t.Errorf("renewed before it was due: %v", err)
		}
		if err := n.renewIfDue(t.Context(), due); err != nil {
			t.Fatal(err)
		}
		if serial() == before || time.Until(n.member.RenewAt()) < trust.Validity/2 {
			t.Errorf("not renewed: number %s, due %v", serial(), n.member.RenewAt())
		}
	}
	complete(t, second, 4)
}
