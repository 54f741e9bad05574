package linkprobe

import (
	"context"
	"sync"
	"time"

	"polynode/transport"
)

// Times of probing.
const (
	roundPause = 5 * time.Second        // between two rounds of small frames
	soonPause  = 250 * time.Millisecond // while bandwidth is not measured yet, for soonMax rounds
	soonMax    = 8
	bulkEvery  = 10 * time.Minute // between two measures of a link's bandwidth
	askWait    = 2 * time.Second  // for a peer to answer
	pings      = 5                // small frames of a round
)

// Config is what a Prober needs. Its functions are called from several goroutines.
type Config struct {
	Node    string // this one
	Network transport.Network
	Peers   func() []string        // the other nodes that are here now
	Changed func() <-chan struct{} // closed when there may be others; nil if that never is
	Busy    func() bool            // whether work uses the network now
}

// Prober measures the links of one node. Methods are safe for concurrent use.
type Prober struct {
	config Config
	bulk   chan struct{} // holds one while no bandwidth is being measured from or to this node

	mu    sync.Mutex
	links map[string]*series
}

// New makes a Prober that has measured nothing.
func New(config Config) *Prober {
	p := &Prober{config: config, bulk: make(chan struct{}, 1), links: map[string]*series{}}
	p.bulk <- struct{}{}
	return p
}

// Links is what is known now of the links to peers that are here.
func (p *Prober) Links() map[string]Link {
	p.mu.Lock()
	defer p.mu.Unlock()
	links := make(map[string]Link, len(p.links))
	for peer, s := range p.links {
		if l, known := s.link(); known {
			links[peer] = l
		}
	}
	return links
}

// Run measures, and answers the probes of others, until ctx ends or the network is closed.
func (p *Prober) Run(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { p.answer(ctx) })
	asked := map[string]context.CancelFunc{}
	for ctx.Err() == nil {
		var changed <-chan struct{}
		if p.config.Changed != nil {
			changed = p.config.Changed()
		}
		here := map[string]bool{}
		for _, peer := range p.config.Peers() {
			here[peer] = true
			if asked[peer] == nil {
				asking, end := context.WithCancel(ctx)
				asked[peer] = end
				running.Go(func() { p.ask(asking, peer) })
			}
		}
		for peer, end := range asked {
			if !here[peer] {
				end()
				delete(asked, peer)
				p.forget(peer)
			}
		}
		select {
		case <-changed:
		case <-time.After(roundPause):
		case <-ctx.Done():
		}
	}
	stop()
	running.Wait()
}

// forget drops the measures of a peer that is gone: it may come back elsewhere.
func (p *Prober) forget(peer string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, peer)
}

// note adds to the measures of a peer.
func (p *Prober) note(peer string, add func(*series)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.links[peer]
	if s == nil {
		s = &series{}
		p.links[peer] = s
	}
	add(s)
}

// ask measures the link to one peer until ctx ends.
func (p *Prober) ask(ctx context.Context, peer string) {
	a := asker{prober: p, peer: peer}
	defer a.close()
	for rounds := 1; ; rounds++ {
		wait := roundPause
		if a.round(ctx) && rounds <= soonMax {
			wait = soonPause
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}
