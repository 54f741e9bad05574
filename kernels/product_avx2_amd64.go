package kernels

// mulTileAVX2 is mulTile.
func mulTileAVX2(out []int32, stride int, m *Matrix, x *Activations, p, t, n int) bool {
	return false
}
