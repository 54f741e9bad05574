// Package linkbench measures what a token pays for the network when two nodes share each matrix.
//
// In the walk of a token it stands where transport/collective does: it repeats the exchanges of one token of a 13B model
// between two processes, over this program's own transport and, in the same run, over plain TCP and raw UDP.
//
// Invariants:
//   - Both processes do the same fixed work between exchanges, so what the network takes from the computing counts.
//   - Carriers take turns token by token, so that a noisy machine is noisy for all.
//   - What is reported is added to a token whose exchanges are left out, with the other process computing as well.
//
// A run belongs to one goroutine. Run, Peer and Relay return when everything that they started has ended.
package linkbench
