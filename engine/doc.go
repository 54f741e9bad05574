// Package engine turns requests into steps and steps into tokens: queue, scheduler, blocks, prefix cache.
//
// In the walk of a token: api calls Submit and reads the Handle; the loop (Run) schedules a Step, has an Executor run it on the
// model, near or far, and commits the Output: tokens go to the handles, blocks become part of the prefix cache. The package counts
// tokens and blocks and never sees a model.
//
// Invariants.
//   - A step holds at most StepTokens tokens and SequencesMax sequences: first one token of each running sequence, then prompt
//     chunks in the order of arrival.
//   - A block is written by one sequence only and then by no other as long as it is shared: who writes to a shared one gets a
//     copy. Full blocks with equal tokens before and in them exist once.
//   - The oldest request always gets on: when blocks run out the youngest loses all of its own and is computed again later. What a
//     request needs at most is known when it is submitted and fits into all blocks, so nothing waits for ever.
//   - As many steps are under way as the executor takes. They are committed in order, and a sequence that loses its blocks meanwhile
//     passes over what they give.
//   - Preemption, sharing, chunking and company do not change a token: sampling depends on seed and position alone, and the
//     logits of a position on the tokens up to it.
//   - Every accepted request ends exactly once.
//
// Goroutines. Run is called once, by the engine's owner, and is the only goroutine of the package; it alone touches the scheduler,
// which is pure: no clock, no map order, no I/O. All other methods of Engine and Handle may be called from any goroutine, but one
// handle is read by one goroutine at a time. No lock is held while anything waits.
package engine
