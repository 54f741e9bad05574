// Package relay is a small network between two programs on one machine: it passes UDP packets or TCP bytes on, late, slowly,
// incompletely or out of order, as the link it imitates would.
//
// In the walk of a token it stands where the cable is, in tests and in "polynode bench link". Kernels without netem need
// nothing else.
//
// Invariants:
//   - A healthy link keeps the order and loses nothing.
//   - What goes one way does not disturb what goes the other way.
//   - Chance comes from a seed.
//
// Relays are safe for concurrent use. Each starts goroutines, two for each direction of each caller, and Close waits for
// them.
package relay
