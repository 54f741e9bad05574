package kernels

import "testing"

// The AVX-512 products of Q4 for processors without AVX512_VBMI, on one that has it.
func TestQ4WithoutVBMI(t *testing.T) {
	if !vbmi512 || detectTiers()[0] != AVX512 {
		t.Skip("no AVX512_VBMI")
	}
	before := Active()
	vbmi512 = false
	defer func() { vbmi512 = true; Use(before) }()
	if err := Use(AVX512); err != nil {
		t.Skip(err)
	}
	rng := newRand(8)
	for n := 1; n <= tileT; n++ {
		checkOwnTiles(t, Q4, n, 3500)
		m := randomMatrix(t, rng, Q4, 37, 257, 64, rng.IntN(24), n%2 == 0)
		checkProduct(t, &m, activations(n, 257, 64, nowAndThen(rng)), 1)
	}
}
