// Package pool runs the parts of one task on a fixed set of threads and returns when all are done: the
// parallel-for beneath the kernels.
//
// A forward pass is some hundreds of short parallel sections per token, so handing out work must cost far less than
// a goroutine start. The workers live as long as the pool; between two sections they spin for a short while and then
// park. Parts are handed out by an atomic counter, in ascending order, so a slow thread takes fewer of them. Run
// allocates nothing.
//
// Which thread runs which part is left to chance; a task whose parts write disjoint memory gives the same result for any
// number of workers.
//
// Goroutines: New starts workers-1 of them, the pool owns them, and Close waits for them. The caller of Run is the last worker.
package pool
