// Package pipeline runs a Step over the ranks of a Plan, near or far.
//
// It is the engine's Executor: it hands each step to all ranks at once, behind those that are under way, waits for all of them, and returns
// what the last stage sampled. As many steps are under way as the plan has stages. Ranks find each other on their own (activations and sums do not pass through here), so a
// pipeline only fans out and joins. Near ranks are workers in this process.
//
// Invariants: a step runs on every rank or fails as a whole; every rank runs the steps in the order in which they were started; when one
// rank fails the others are cancelled and waited for, so none is left behind in an exchange, and with several stages no later step
// succeeds. One goroutine calls Start and Wait. Each rank has a goroutine of its own, which Close ends and waits for, but in a plan of one stage
// the sampling one runs on the caller's.
package pipeline
