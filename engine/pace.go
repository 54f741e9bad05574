package engine

import "time"

// paceTokensMin is the least that a pace gives prompts in a step: enough for the last tokens of all beams of a request, and for
// matrix products that are worth the name.
const paceTokensMin = 16

// pace finds how many prompt tokens go into a step so that it takes about a given time, whatever the model and the machine:
// running sequences wait for their next token, and callers for a cancellation, as long as a step takes. Tokens do not depend
// on how a prompt is cut, so neither do answers on the pace.
type pace struct {
	time   time.Duration // of a step; 0 is no limit
	most   int           // tokens of a step
	tokens int           // of prompts in the next step
}

func newPace(c Config) pace {
	if c.StepTime == 0 {
		return pace{most: c.StepTokens, tokens: c.StepTokens}
	}
	return pace{time: c.StepTime, most: c.StepTokens, tokens: min(paceTokensMin, c.StepTokens)}
}

// note learns from a step with so many tokens. Steps that were too long shorten the next in proportion; full steps that took less
// than half the time double it.
func (p *pace) note(tokens int, took time.Duration) {
	switch {
	case p.time == 0 || took <= 0:
	case took > p.time && tokens > 1:
		p.tokens = min(p.tokens, int(float64(tokens)*float64(p.time)/float64(took)))
	case took < p.time/2 && tokens >= p.tokens:
		p.tokens *= 2
	}
	p.tokens = min(max(p.tokens, paceTokensMin), p.most)
}
