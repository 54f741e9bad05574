package collective

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"polynode/shard"
	"polynode/transport"
)

// dialPause is the time between two attempts to reach a peer that is not there yet.
const dialPause = 20 * time.Millisecond

// Join makes the links of one node in a plan. The network must be the node's own, and nobody else may accept activation
// connections on it meanwhile. It waits for peers that are not there yet or that still follow an older plan, until ctx
// ends; a peer that follows a newer one makes it fail with transport.ErrStaleEpoch. A plan without this node gives
// shard.ErrPlan.
func Join(ctx context.Context, network transport.Network, generation uint64, plan *shard.Plan, me shard.NodeID) (*Links, error) {
	stage, rank, ok := plan.Find(me)
	if !ok {
		return nil, fmt.Errorf("join epoch %d: %w: no rank for node %s", plan.Epoch, shard.ErrPlan, me)
	}
	j := &join{
		network: network,
		hello: transport.Header{
			Kind: transport.KindHello, Rank: uint16(rank), Generation: generation, Epoch: uint64(plan.Epoch),
		},
	}
	links := j.plan(plan, stage, rank)
	if err := j.run(ctx); err != nil {
		links.Close()
		return nil, fmt.Errorf("join epoch %d: %w", plan.Epoch, err)
	}
	return links, nil
}

// join is the making of the links of one rank.
type join struct {
	network transport.Network
	hello   transport.Header
	callees []*link // this rank calls them
	callers []*link // they call this rank

	mu      sync.Mutex
	missing int // callers that have not called yet
}

// plan lists who has to be linked and how. Inside a group the lower rank calls, between stages the earlier one.
func (j *join) plan(plan *shard.Plan, stage, rank int) *Links {
	links := &Links{}
	group := plan.Stages[stage].Group
	links.group = Group{session: &links.session, rank: rank, peers: make([]*link, len(group)), delay: delayBytes}
	if known := plan.Stages[stage].DelayBytes; known > 0 {
		links.group.delay = known
	}
	for r, peer := range group {
		if r == rank {
			continue
		}
		l := &link{node: peer.Node, rank: uint16(r)}
		links.group.peers[r] = l
		if r > rank {
			j.callees = append(j.callees, l)
		} else {
			j.callers = append(j.callers, l)
		}
	}
	if !plan.First(stage) {
		before := plan.Stages[stage-1].Group
		r := rank % len(before)
		links.previous = &link{node: before[r].Node, rank: uint16(r)}
		j.callers = append(j.callers, links.previous)
	}
	if !plan.Last(stage) {
		behind := plan.Stages[stage+1].Group
		for r := rank; r < len(behind); r += len(group) {
			l := &link{node: behind[r].Node, rank: uint16(r)}
			links.next = append(links.next, l)
			j.callees = append(j.callees, l)
		}
	}
	links.session.header = j.hello
	links.session.links = append(append(links.session.links, j.callees...), j.callers...)
	j.missing = len(j.callers)
	return links
}

// run makes all connections and returns when each is made or one cannot be.
func (j *join) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range j.callees {
		g.Go(func() error { return j.call(ctx, l) })
	}
	if j.missing > 0 {
		accepting, done := context.WithCancel(ctx)
		defer done()
		g.Go(func() error { return j.answer(ctx, accepting, done, g) })
	}
	return g.Wait()
}

// call dials a peer until it answers in the same epoch.
func (j *join) call(ctx context.Context, l *link) error {
	for {
		conn, err := j.network.Dial(ctx, string(l.node), transport.ClassActivation)
		if errors.Is(err, transport.ErrClosed) {
			return err
		}
		if err == nil {
			var met bool
			if met, err = j.greet(ctx, conn, l, true); met {
				l.conn = conn
				return nil
			}
			conn.Close()
		}
		if hopeless(err) {
			return err
		}
		select {
		case <-time.After(dialPause):
		case <-ctx.Done():
			return &PeerError{Rank: int(l.rank), Node: l.node, Err: errors.Join(ctx.Err(), err)}
		}
	}
}

// answer accepts connections until all callers have called. Each is greeted by a goroutine of its own, so that a
// silent one holds nobody up.
func (j *join) answer(ctx, accepting context.Context, done func(), g *errgroup.Group) error {
	for {
		conn, err := j.network.Accept(accepting, transport.ClassActivation)
		if err != nil {
			if accepting.Err() != nil && ctx.Err() == nil {
				return nil // all have called
			}
			return err
		}
		l := j.caller(conn.Peer())
		if l == nil {
			conn.Close()
			continue
		}
		g.Go(func() error {
			met, err := j.greet(accepting, conn, l, false)
			if !met {
				conn.Close()
				if hopeless(err) {
					return err
				}
				return nil // the peer will call again
			}
			if j.take(l, conn) {
				done()
			}
			return nil
		})
	}
}

// hopeless reports whether there is no use in trying again within this Join.
func hopeless(err error) bool {
	return errors.Is(err, transport.ErrStaleEpoch) || errors.Is(err, ErrMismatch)
}

func (j *join) caller(node string) *link {
	for _, l := range j.callers {
		if string(l.node) == node {
			return l
		}
	}
	return nil
}

// take gives the connection to its link and reports whether it was the last one. A peer that calls again has given up its
// first call.
func (j *join) take(l *link, conn transport.Conn) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if l.conn == nil {
		j.missing--
	} else {
		l.conn.Close()
	}
	l.conn = conn
	return j.missing == 0
}

// greet exchanges hellos, the caller's first. It reports whether the peer is the rank that it should be, in the same epoch. A
// peer of an older epoch is not met, without an error; one of a newer epoch is transport.ErrStaleEpoch. Both sides always
// say their own epoch, so that the one that is behind learns of it.
func (j *join) greet(ctx context.Context, conn transport.Conn, l *link, first bool) (met bool, err error) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	hello := transport.Frame{Header: j.hello}
	if first {
		if err := conn.Send(&hello); err != nil {
			return false, err
		}
	}
	var theirs transport.Frame
	if err := conn.Recv(&theirs); err != nil {
		return false, err
	}
	if !first {
		if err := conn.Send(&hello); err != nil {
			return false, err
		}
	}
	var fence transport.Fence
	_ = fence.Admit(j.hello.Generation, j.hello.Epoch) // nothing is older than what an empty fence has seen
	if fence.Admit(theirs.Generation, theirs.Epoch) != nil {
		return false, nil
	}
	if theirs.Generation != j.hello.Generation || theirs.Epoch != j.hello.Epoch {
		return false, fmt.Errorf("rank %d (%s): %w: it is in epoch %d of generation %d", l.rank, l.node,
			transport.ErrStaleEpoch, theirs.Epoch, theirs.Generation)
	}
	if theirs.Kind != transport.KindHello || theirs.Rank != l.rank {
		return false, fmt.Errorf("rank %d (%s): %w: it calls itself rank %d", l.rank, l.node, ErrMismatch, theirs.Rank)
	}
	return stop(), nil
}
