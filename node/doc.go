// Package node builds and stops one node: the only place where the parts meet.
//
// Start opens the model, agrees on a plan, loads the ranks that the plan gives to this node, starts the engine over
// them and serves HTTP, in that order; Stop undoes it in reverse. One process is a cluster of one: its lists have length
// 1 and its code has no branch for that.
//
// A Node's methods are safe for concurrent use. Everything that Start starts belongs to the node and has ended when Stop
// returns.
package node
