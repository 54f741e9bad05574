//go:build arm64 && !darwin

package kernels

// alwaysDot says that every processor of this system has the dot product instructions.
const alwaysDot = false
