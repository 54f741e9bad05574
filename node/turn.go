package node

import "sync"

// turn is a lock that may be held over waiting for others: for a network, or for time to pass. A mutex may not, because a simulation
// (testing/synctest) takes whoever waits for one for busy, and its clock stands still.
type turn chan struct{}

var _ sync.Locker = turn(nil)

func newTurn() turn { return make(turn, 1) }

// Lock waits until nobody holds the turn.
func (t turn) Lock() { t <- struct{}{} }

// Unlock gives it back.
func (t turn) Unlock() { <-t }
