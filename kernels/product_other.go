//go:build !amd64 && !arm64

package kernels

// mulTile reports that there is no faster tier than the generic one.
func mulTile(out []int32, stride int, m *Matrix, x *Activations, p, panels, t, n int, leaf leafRounder) bool {
	return false
}

// panelsTogether is how many panels of m one call of mulTile may take.
func panelsTogether(m *Matrix) int { return 1 }
