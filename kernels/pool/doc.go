// Package pool runs the parts of one task on a fixed set of threads and returns when all are done: the
// parallel-for beneath the kernels.
//
// A forward pass is some hundreds of short parallel sections per token, so handing out work must cost far less than
// a goroutine start. The workers live as long as the pool; between two sections they spin for a short while and then
// park. Each worker gets one contiguous run of the parts and takes them in ascending order, so that what neighbouring parts
// read is one stream for the processor's prefetcher; who is done takes the last parts of the slowest, so that a slow or shared core
// delays a section by one part and not by its share. Run allocates nothing.
//
// Which thread runs which part is left to chance; a task whose parts write disjoint memory gives the same result for any
// number of workers.
//
// Workers are ordinary goroutines, which Go keeps on their threads as long as they are busy; only on a machine with several memories
// does each get an OS thread of its own that stays on one of them (NewOn). Give Go more processors than the pool has workers, or
// whoever else wants one waits for a yield.
//
// Goroutines: New starts workers-1 of them, the pool owns them, and Close waits for them. The caller of Run is the first worker.
package pool
