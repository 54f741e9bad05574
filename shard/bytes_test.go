package shard

import (
	"testing"

	"pgregory.net/rapid"
)

func TestBytesOf13B(t *testing.T) {
	plan := Solo("a", polylm13B, "digest")
	// 40 layers of 12·5120² and a head of 256000·5120 at one byte each.
	if got, want := plan.WeightBytes(polylm13B, 0, 0, 1), int64(40*12*5120*5120+256000*5120); got != want {
		t.Errorf("weights %d, want %d", got, want)
	}
	if got := plan.WeightBytes(polylm13B, 0, 0, 0.5625); got != 7815168000 {
		t.Errorf("weights at 4.5 bits %d", got)
	}
	if got := plan.KVBytes(polylm13B, 0, 0, 2); got != 819200 {
		t.Errorf("KV of a token in f16 %d, want 819200", got)
	}
}

// The ranks of a plan together hold what one node would hold.
func TestBytesAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shape := drawShape(t)
		plan, err := Build(shape, "digest", drawStages(t, min(shape.Layers, 5)))
		if err != nil {
			t.Fatal(err)
		}
		var weights, kv int64
		for s, stage := range plan.Stages {
			for r := range stage.Group {
				weights += plan.WeightBytes(shape, s, r, 2)
				kv += plan.KVBytes(shape, s, r, 2)
			}
		}
		solo := Solo("a", shape, "digest")
		if want := solo.WeightBytes(shape, 0, 0, 2); weights != want {
			t.Fatalf("weights %d, want %d", weights, want)
		}
		if want := solo.KVBytes(shape, 0, 0, 2); kv != want {
			t.Fatalf("KV %d, want %d", kv, want)
		}
	})
}
