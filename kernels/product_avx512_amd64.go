package kernels

// mulTileAVX512 is mulTile.
func mulTileAVX512(out []int32, stride int, m *Matrix, x *Activations, p, t, n int) bool {
	return false
}
