package node

import (
	"testing"
	"time"

	"polynode/engine/worker"
	"polynode/transport/collective"
)

func TestLoad(t *testing.T) {
	var l loadWatch
	now := time.Now()
	var used worker.Usage
	for i, test := range []struct {
		steps, frames int64 // since the last look
		wait          time.Duration
		want          load
	}{
		{0, 0, 0, idle}, {1, 0, 0, computing}, {0, 0, quietWait / 2, computing}, {1, 80, 0, talking},
		{0, 0, quietWait - 1, talking}, {1, 0, 1, computing}, {0, 0, quietWait, idle},
	} {
		used.Steps += test.steps
		used.Traffic = used.Traffic.Plus(collective.Traffic{FramesSent: test.frames})
		now = now.Add(test.wait)
		if got := l.at(now, used); got != test.want {
			t.Errorf("%d: load %d, want %d", i, got, test.want)
		}
	}
}
