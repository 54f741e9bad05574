// Package linkprobe measures the links between nodes while they work: round trips and bandwidth.
//
// No token walks through here. What is measured decides how a model is cut: the planner asks how long two nodes need to talk. Each node
// has a Prober, which measures its links to all others and answers theirs.
//
// Invariants: a round trip costs a few small frames every few seconds, and the best of them counts. Bandwidth is measured when a link is
// new and then rarely, with at most BulkBytes within bulkTime, by one node of a pair, one link at a time, and never while either node says
// that it is busy. What is shown is smoothed: one strange measure changes nothing.
//
// Goroutines: Run starts one for each peer that is asked and each that asks, and waits for all of them. Links may be called from any
// goroutine.
package linkprobe
