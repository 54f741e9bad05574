package node

import (
	"time"

	"polynode/engine/worker"
)

// loadWatch tells from a rank's usage what its node is busy with. It belongs to one goroutine.
type loadWatch struct {
	last     worker.Usage
	computed time.Time // when a step was last seen
	talked   time.Time // when one with other ranks was
}

// at is the load now.
func (l *loadWatch) at(now time.Time, used worker.Usage) load {
	since := used.Minus(l.last)
	l.last = used
	if since.Steps > 0 {
		l.computed = now
	}
	if since.Traffic.FramesSent+since.Traffic.FramesReceived > 0 {
		l.talked = now
	}
	switch {
	case now.Sub(l.talked) < quietWait:
		return talking
	case now.Sub(l.computed) < quietWait:
		return computing
	}
	return idle
}
