// Package kernels is the arithmetic of the network on slices: products of packed weights and activations,
// LayerNorm, GELU, attention over paged keys and values, packing. It starts no goroutine and reads no clock.
package kernels
