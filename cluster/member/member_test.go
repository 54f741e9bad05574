package member

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"polynode/cluster"
	"polynode/cluster/trust"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var facts = cluster.Facts{Version: "test", Cores: 2, MemoryBytes: 1 << 30, BytesPerSecond: 1e9, OpsPerSecond: 1e9}

func configOf(t *testing.T, name, dir string) Config {
	level := slog.LevelError
	if testing.Verbose() {
		level = slog.LevelInfo
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With("name", name)
	return Config{Dir: dir, Name: name, Listen: freeAddress(t), Facts: facts, Logger: logger}
}

// freeAddress is a UDP address of this machine that was free a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.LocalAddr().String()
}

func open(t *testing.T, config Config) *Member {
	t.Helper()
	m, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func closeMember(t *testing.T, m *Member) {
	t.Helper()
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// until waits for a change of the agreed state or of who is alive after which something is so.
func until(t *testing.T, what string, m *Member, so func(*cluster.State) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		changed, seen := m.Cluster().Changed(), m.Members().Changed()
		if so(m.Cluster().State()) {
			return
		}
		select {
		case <-changed:
		case <-seen:
		case <-ctx.Done():
			t.Fatalf("not in time: %s; state %+v", what, m.Cluster().State())
		}
	}
}

func ready(n int) func(*cluster.State) bool {
	return func(s *cluster.State) bool {
		count := 0
		for _, node := range s.Nodes {
			if node.Phase == cluster.Ready {
				count++
			}
		}
		return count == n
	}
}

func token(t *testing.T, m *Member, uses int) string {
	t.Helper()
	token, err := m.NewToken(t.Context(), trust.Worker, time.Hour, uses)
	if err != nil {
		t.Fatal(err)
	}
	return token.Text()
}

// Three nodes over real QUIC: one founds, two join with one token, all stop, all come back at other ports as themselves.
func TestFoundJoinAndComeBack(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	names := []string{"one", "two", "three"}
	first := open(t, configOf(t, names[0], dirs[0]))
	text := token(t, first, 2)
	members := []*Member{first}
	for i := 1; i < 3; i++ {
		config := configOf(t, names[i], dirs[i])
		if err := Join(t.Context(), config, first.Network().Address().String(), text); err != nil {
			t.Fatal(err)
		}
		if err := Join(t.Context(), config, "127.0.0.1:1", text); err != nil {
			t.Errorf("a member that joins again: %v", err)
		}
		members = append(members, open(t, config))
	}
	for _, m := range members {
		until(t, "three ready nodes", m, ready(3))
	}
	if err := Join(t.Context(), configOf(t, "four", t.TempDir()), first.Network().Address().String(), text); !errors.Is(err, trust.ErrTokenUsed) {
		t.Errorf("the token a third time: %v", err)
	}
	id, epoch := first.Cluster().State().ID, first.ID()
	for _, m := range members {
		closeMember(t, m)
	}
	for i := range members {
		members[i] = open(t, configOf(t, names[i], dirs[i]))
	}
	if members[0].ID() != epoch {
		t.Errorf("node %s came back as %s", epoch, members[0].ID())
	}
	// Each listens at another port than before, where nobody knows it: a person tells one of them where another is, as join would.
	if _, err := members[1].Members().Meet([]netip.AddrPort{members[0].Network().Address(), members[2].Network().Address()}); err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		until(t, "three ready nodes after the restart", m, func(s *cluster.State) bool {
			_, led := m.Cluster().Leader()
			return led && ready(3)(s) && s.ID == id && len(m.Members().Alive()) == 3
		})
		defer closeMember(t, m)
	}
}
