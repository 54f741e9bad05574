// Package fetch brings the parts of a packed model that a rank needs to its node, from whichever nodes have them.
//
// In the walk of a token it comes before the first step of a plan: a node that gets a place in a plan asks for the units under
// its slices (model.PiecesOf) and opens what it has then as an ordinary store.Model. A Server gives parts of the models of a folder
// over connections of transport.ClassWeights; Get plans which unit comes from which source, checks each against the hashes
// that the model's digest pins, and puts it into a store.Partial.
//
// Invariants:
//   - Nothing is written that does not match its hash, and who sent it is not asked again.
//   - A unit is asked for once, unless the source that was asked failed; what is on the disk is not asked for at all.
//   - Every wait for a source has a deadline. Requests and answers have stated limits on both sides.
//   - An interrupted Get leaves a model that the next one continues.
//
// Goroutines: Get starts one for each source and one that flushes, and waits for all of them. A Server starts none: Serve runs on
// its caller's goroutine, one for each connection.
package fetch
