// Package planner chooses how a model is cut: from measured facts of nodes and links it makes the plan that answers
// soonest, predicts its milliseconds term by term, and says why each node that it leaves out is left out.
//
// A plan is made before any token walks, and again when a node comes, goes or changes. Plan weighs every node alone, groups
// that split each matrix, stages that follow one another, and both together; Predict prices a plan that exists;
// PlaceSpares decides which disks keep a second copy of each slice, so that the next plan needs no transfer.
//
// Invariants: everything here is a pure function of its arguments. There is no I/O, clock, goroutine or map order, and the
// order in which nodes are listed does not matter, so all nodes make the same plan from the same facts, but for ties that
// the rounding of another processor may break. Only the leader plans, and the others are told. A plan that comes out
// is valid, fits into the memory of its nodes, and is predicted to be no slower than the best single node that the model fits into.
//
// All functions may be called from any goroutine.
package planner
