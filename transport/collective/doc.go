// Package collective adds partial sums up over the ranks of a group and hands activations from stage to stage.
//
// In the walk of a token it stands between the kernels and the wire: after the attention projection and after the FFN
// each rank has a partial sum of every output, AllReduce makes the whole of them, and what comes out of the last
// layer of a stage goes to the next one by Send and Recv. Links are all of this that one rank of a plan needs; Join makes
// them.
//
// Invariants:
//   - Sums are integers, so every rank has the same bits after an AllReduce, in whatever order parts arrive.
//   - Sums travel packed, without loss: as many bits as the greatest of each run needs.
//   - Each frame carries generation, epoch, step and a running number, and anything else than what is due is refused.
//   - An error breaks the links for good: the step is over for this rank, its connections are closed so that the others
//     notice, and the plan has to be joined again.
//   - After the first call of each size nothing is allocated.
//
// Links belong to the goroutine that runs the steps. Only Close may be called from elsewhere. Join starts goroutines and waits for
// them; afterwards there are none.
package collective
