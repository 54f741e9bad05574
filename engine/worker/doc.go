// Package worker is one rank: its weights, its KV, its forward pass, its neighbours.
//
// A Worker is a pipeline.Rank in this process. Assign maps the rank's slices, reserves its cache and meets the other ranks
// of the plan; Run takes one step through the rank's stage: receive the residual stream (or embed tokens), compute the layers,
// send the stream on or make logits and choose tokens.
//
// Invariants: a step's outcome depends on the step and the cache only, never on the plan's shape or on what else ran;
// ranks that share the vocabulary all come to the same choice, rank 0 of the last stage reports it; nothing is allocated in a
// step without log-probabilities once buffers have grown.
//
// One goroutine calls Assign, Run and Close.
package worker
