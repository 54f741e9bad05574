// Package refmath is the yardstick of the numerics: GPT-2/PolyLM's forward pass in float64, written as plainly as the
// equations and sharing no code with kernels or with model's forward pass. It has no place in the walk of a token; tests
// hold the product against it.
//
// Invariants: every sum is a plain loop in float64; GELU and softmax use the standard library's tanh, erf and exp; logits
// cover the whole vocabulary, unmasked. Nothing is fast and nothing is cached: the whole sequence is computed every time.
//
// A Model is read-only after New and safe for concurrent use; no goroutine is started.
package refmath
