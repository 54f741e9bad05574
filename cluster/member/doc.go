// Package member makes a machine a member of a cluster: it founds one or joins one, comes back as itself after a restart, and lets
// others in.
//
// A token never meets it. It brings together what stands beside it: the keys and certificates of cluster/trust, a network of transport,
// gossip and agreement of cluster. What it opens is used by everything above: the network carries activations, the agreed
// state has the plan.
//
// Invariants:
//   - What this machine is lies in one folder: its key, its certificate, whom it knew, and the log of what was agreed. With the folder
//     it is the same node at any address; a folder is used by one process.
//   - Every connection but that of a joiner shows a certificate of the cluster, which is checked again while it lives.
//   - A joiner gets its certificate after the cluster agreed that its token is used.
//
// Member owns its goroutines, and Close waits for them.
package member
