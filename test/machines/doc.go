// Package machines tests clusters of real processes, each in a network of its own: what one machine answers is what many answer, also
// while machines come, die, stop, or cannot hear each other.
//
//	POLYNODE_MACHINES=1 go test -count=1 -v ./test/machines
//
// Without that variable all tests are skipped: they are about a cluster as a whole, take a minute and want both cores. They need Linux, the
// programs unshare and ip, and the right to make namespaces, as root or as a user who may.
//
// The test runs itself again in namespaces for networks, mounts and processes, with the program unshare. There it makes a switch and one
// network per machine, joined by pairs of virtual cables. Nothing outside sees any of this, and everything is gone when the test's process
// is, however it ends. A machine is the test program once more, with a planner that makes plans of the shape that a test wants. Clients
// reach a machine over its own loopback, so that cuts do not touch them and counters count what machines tell each other.
package machines
