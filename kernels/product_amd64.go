package kernels

// mulTile computes panels [p, p+panels) for n rows of x from row t on, n at most tileT, on the active tier; out starts at the first
// panel's first row of token t. It reports false where it cannot vouch for the result, because a leaf's contribution left ±Limit or is a
// NaN, or the tier has no such product: the generic tier then computes the tile anew and counts the clamps.
func mulTile(out []int32, stride int, m *Matrix, x *Activations, p, panels, t, n int, leaf leafRounder) bool {
	switch active {
	case AVX512:
		return mulTileAVX512(out, stride, m, x, p, panels, t, n, leaf)
	case AVX2:
		return mulTileAVX2(out, stride, m, x, p, t, n, leaf)
	}
	return false
}

// panelsTogether is how many panels of m one call of mulTile may take.
func panelsTogether(m *Matrix) int {
	if active == AVX512 && m.Format.Quantised() {
		return max(quantCall512/Blocks(m.K), 1)
	}
	return 1
}
