// Package kernelbench measures the kernels against the roofs of the machine: how fast its memory can be read, and how fast its
// registers multiply.
//
// It stands beside the walk of a token: it calls the kernels as a stage of the model does, through a pool and in the shapes of
// PolyLM-13B, on made-up bytes. No model is needed.
//
// A figure comes from passes of the kernel that take turns with passes of its roof, over as many bytes or for about as long, on the same
// threads and in the same memory; so both see the same neighbours on a shared machine. The best pass says what the code can do, the median what
// it did. Weights and keys lie in a buffer far larger than the caches, and every pass takes the bytes behind those of the pass before.
//
// Run must be alone in its process: it switches the kernels from tier to tier. It runs on the goroutine of its caller and on those of a pool
// of its own, which it closes.
package kernelbench
