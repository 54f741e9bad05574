// Package pipeline runs a Step over the ranks of a Plan, near or far.
//
// It is the engine's Executor: it hands each step to all ranks at once, waits for all of them, and returns what the
// last stage sampled. Ranks find each other on their own (activations and sums do not pass through here), so a
// pipeline only fans out and joins. Near ranks are workers in this process.
//
// Invariants: a step runs on every rank or fails as a whole; when one rank fails the others are cancelled and waited
// for, so none is left behind in an exchange. One goroutine calls Execute; each further rank has a goroutine of its
// own, which Close ends and waits for.
package pipeline
