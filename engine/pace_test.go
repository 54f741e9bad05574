package engine

import (
	"testing"
	"time"
)

// machine is one on which a step takes a fixed time and some time for each token.
type machine struct{ fixed, token time.Duration }

func (m machine) step(tokens int) time.Duration {
	return m.fixed + time.Duration(tokens)*m.token
}

func TestPaceFindsTheStepTime(t *testing.T) {
	for _, c := range []struct {
		name string
		machine
		least, most int // tokens of a step in the end
	}{
		{"fast", machine{0, time.Millisecond}, 256, 256},
		{"middling", machine{100 * time.Millisecond, 10 * time.Millisecond}, 40, 90},
		{"slow", machine{time.Second, time.Second}, paceTokensMin, paceTokensMin},
	} {
		p := newPace(Config{StepTokens: 256, StepTime: time.Second})
		for range 30 {
			p.note(p.tokens, c.step(p.tokens))
		}
		if p.tokens < c.least || p.tokens > c.most {
			t.Errorf("%s: %d tokens a step, want %d to %d", c.name, p.tokens, c.least, c.most)
		}
	}
}

func TestPaceIgnoresStepsThatWereNotFull(t *testing.T) {
	p := newPace(Config{StepTokens: 256, StepTime: time.Second})
	for range 10 {
		p.note(1, time.Millisecond)
	}
	if p.tokens != paceTokensMin {
		t.Errorf("single tokens took it to %d", p.tokens)
	}
	if p := newPace(Config{StepTokens: 256}); p.tokens != 256 {
		t.Errorf("without a step time a step has %d prompt tokens, want all 256", p.tokens)
	}
}
