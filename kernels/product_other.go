//go:build !amd64 && !arm64

package kernels

// mulTile reports that there is no faster tier than the generic one.
func mulTile(out []int32, stride int, m *Matrix, x *Activations, p, t, n int, leaf leafRounder) bool {
	return false
}
