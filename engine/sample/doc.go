// Package sample turns logits into tokens: greedy, temperature, top-k, top-p, min-p, penalties and beam search.
//
// In the walk of a token it stands at the end of the last stage: each rank of the group looks at the logits of its slice of the
// vocabulary while they are made, piece by piece and on several threads (Row, Tally), and gets a Part of a few hundred bytes; parts
// are gathered, and any rank joins them into the same Choice.
// The engine uses the bookkeeping of beam search (Beams) and the seeds of several choices (ChoiceSeed).
//
// Invariants. Everything here is a pure function of its arguments: no clock, no global random source, no map order, no assembly
// whose bits differ between machines. A row of logits may be cut into slices anywhere: the answer has the same bits as from the
// whole row. Probabilities are therefore summed as integers (Mass) and randomness is a hash of (seed, position, token), never a
// stream. The vocabulary is never sorted; at most NucleusMax candidates are.
//
// Functions may be called from any goroutine; a Scratch, a Tally, a Part and a Beams belong to one goroutine at a time. Warm ones
// allocate nothing.
package sample
