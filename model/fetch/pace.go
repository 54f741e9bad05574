package fetch

import "golang.org/x/time/rate"

// paceBurst is how many bytes may go at once: little enough that others on the line do not notice, and a change of pace is felt soon.
const paceBurst = 256 << 10

// Pace is a limit of bytes a second that can be changed while it holds, for several fetches or a server. It is safe for concurrent use.
type Pace struct{ limiter *rate.Limiter }

// NewPace makes a limit; zero for none.
func NewPace(bytesPerSecond int64) *Pace {
	p := &Pace{rate.NewLimiter(rate.Inf, paceBurst)}
	p.Set(bytesPerSecond)
	return p
}

// Set changes the limit; zero for none.
func (p *Pace) Set(bytesPerSecond int64) {
	limit := rate.Inf
	if bytesPerSecond > 0 {
		limit = rate.Limit(bytesPerSecond)
	}
	if p.limiter.Limit() != limit {
		p.limiter.SetLimit(limit)
	}
}

// limiterOf is that of a pace, if there is one, or one for a constant number of bytes a second.
func limiterOf(p *Pace, bytesPerSecond int64) *rate.Limiter {
	if p != nil {
		return p.limiter
	}
	return newLimiter(bytesPerSecond)
}
