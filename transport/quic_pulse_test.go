package transport

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"polynode/internal/relay"
)

// A session has one pulse: who opens another is refused, and the session stays.
func TestQUICSecondPulse(t *testing.T) {
	cluster := newTestCluster(t)
	a, b := cluster.start(t, "a"), cluster.start(t, "b")
	near, far := join(t, a, b, ClassControl)
	patient(t, near, far)
	for !far.(*quicConn).session.pulsing.Load() {
		<-time.After(time.Millisecond)
	}
	for range 2 {
		stream, err := near.(*quicConn).session.conn.OpenStream()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Write(append([]byte{pulseMark}, make([]byte, preambleBytes-1)...)); err != nil {
			t.Fatal(err)
		}
		_ = stream.SetReadDeadline(time.Now().Add(time.Minute))
		for err == nil {
			_, err = stream.Read(make([]byte, 1))
		}
		var refused *quic.StreamError
		if !errors.As(err, &refused) || !refused.Remote {
			t.Errorf("a second pulse: %v", err)
		}
	}
	exchange(t, near, far)
}

// Who is still heard and does not hear any more is noticed by its missing answers.
func TestQUICDeafPeer(t *testing.T) {
	_, a, b, between := behindRelay(t, relay.Link{}, relay.Link{})
	near, far := join(t, a, b, ClassActivation)
	patient(t, near, far)
	between.Set(relay.Link{Cut: true}, relay.Link{})
	if err := near.Recv(new(Frame)); !errors.Is(err, ErrPeerGone) || !(strings.Contains(err.Error(), "no answer for") || strings.Contains(err.Error(), "heard no answer")) {
		t.Errorf("the peer hears nothing: %v", err)
	}
}
