// Package cluster keeps what all nodes agree on: the nodes and how they join, the models and the plan, and who coordinates.
//
// A token never waits for it: it decides, between steps, which plan the steps follow. State is the agreed state and
// knows nothing of the outside; Apply takes it from one command to the next. Cluster replicates the commands
// with raft and runs the coordinator's duties on whichever node leads. A cluster of one node is the same thing with one voter.
//
// Invariants:
//   - State.Apply is a pure function of state, index and command: no clock, no map order, no floating point, so equal logs
//     give equal hashes. A command that cannot be understood or obeyed changes nothing and is answered with an error.
//   - A command names what it expects to find (compare and swap), so a late or repeated one does no harm.
//   - A plan is prepared before it is activated, and its epoch is the raft index of the activation: unique and growing.
//   - A join token is counted by the command that adds its node, so it cannot let in more than it is for. Of tokens the state holds no
//     secret; it does hold the gossip keys, so snapshots and logs are for their owner only.
//   - Those who react to changes look at the state as it is, however many changes there were in between.
//
// State belongs to one goroutine at a time. Methods of Cluster may be called from any goroutine. Cluster owns its
// goroutines and those of raft, and Close waits for all of them.
package cluster
