// Package transport carries frames between nodes: connections by class over one network, real or in memory.
//
// In the walk of a token it is the wire: activations between stages and partial sums between the ranks of a group
// cross it as frames, and so do control messages and weights. Everything above sees two small interfaces, Network and
// Conn, and cannot tell a peer in the same process from one in another building.
//
// Invariants:
//   - A connection is ordered and reliable until it fails; a failed one stays failed.
//   - Every frame names its cluster generation, epoch and step, so that a receiver can refuse what is old.
//   - Nothing that arrives can make a reader allocate more than it has received plus a fixed piece, or more than PayloadMax.
//   - The frame codec is pure: no I/O of its own, no clock, no state.
//   - Nobody gets in without an identity that the caller of Listen accepts, and nobody keeps one that is not accepted any more.
//
// Networks are safe for concurrent use. A Conn may have one sender and one receiver at a time. Memory starts no
// goroutines; deadlines and injected delays are timers, so whole clusters run inside a testing/synctest bubble. QUIC has
// goroutines of its own, and its Close waits for them.
package transport
