package model_test

import (
	"fmt"
	"testing"

	"polynode/kernels"
	"polynode/model"
)

// An FFN so wide that its rows are cut over the threads, and not into whole quantisation blocks, gives the bits of one thread.
func TestActivationDoesNotDependOnThreads(t *testing.T) {
	for _, activation := range []model.Activation{model.GELUFast, model.GELUErf} {
		c := tiny(activation, true)
		c.Inner = 2100
		for _, format := range []kernels.Format{kernels.F32, kernels.Q8} {
			t.Run(fmt.Sprintf("%v/%v", activation, format), func(t *testing.T) {
				src := pack(t, c, format)
				tokens := tokensOf(c, 3, 1)
				want := newRunner(t, src, kernels.KVF16, 1, 1).step(piece{tokens, 0, blocks(0, 3)})
				for _, threads := range []int{2, 3, 5} {
					r := newRunner(t, src, kernels.KVF16, threads, 2)
					batch := r.step(piece{tokens, 0, blocks(0, 3)})
					for i := range tokens {
						alone := r.step(piece{tokens[i : i+1], i, blocks(1, 3)})
						if !sameBits(batch[i], want[i]) || !sameBits(alone[0], want[i]) {
							t.Fatalf("%d threads: logits of position %d differ", threads, i)
						}
					}
				}
			})
		}
	}
}
