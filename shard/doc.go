// Package shard is the arithmetic of splitting a model: which node computes which layers, heads, FFN columns and
// vocabulary rows, and what that costs it.
//
// A plan is made before any token walks. Cut divides one dimension in proportion to what the nodes can do, Build
// puts the cuts together for any number of stages and ranks, and Validate proves that everything is owned exactly
// once and that every border is one at which the packed weights may be cut. Every other package only reads plans.
//
// Invariants: everything here is a pure function of its arguments. There is no I/O, clock, goroutine or map order, so
// all nodes compute the same plan from the same facts. A plan that was handed out is never changed; Clone it first.
//
// All functions may be called from any goroutine.
package shard
