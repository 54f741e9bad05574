package fetch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"polynode/kernels"
	"polynode/model"
	"polynode/model/store"
	"polynode/transport"
)

// ledger counts how often each unit was asked for.
type ledger struct {
	mu    sync.Mutex
	count map[int]int
}

func (l *ledger) times(number int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count[number]
}

// most is the number of units that were asked for, and how often the most wanted was.
func (l *ledger) most() (units, times int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.count {
		times = max(times, n)
	}
	return len(l.count), times
}

// tap is a connection of a server that counts requests and can spoil answers.
type tap struct {
	transport.Conn
	ledger *ledger
	spoil  func(f *transport.Frame) error
}

func (c *tap) Recv(f *transport.Frame) error {
	err := c.Conn.Recv(f)
	if err == nil && c.ledger != nil {
		w, _ := parseWant(f)
		c.ledger.mu.Lock()
		defer c.ledger.mu.Unlock()
		for _, s := range w.spans {
			for number := s.lo; number < s.hi; number++ {
				if c.ledger.count == nil {
					c.ledger.count = map[int]int{}
				}
				c.ledger.count[number]++
			}
		}
	}
	return err
}

func (c *tap) Send(f *transport.Frame) error {
	if c.spoil != nil {
		if err := c.spoil(f); err != nil {
			return err
		}
	}
	return c.Conn.Send(f)
}

// tapped puts a tap on every connection.
func tapped(l *ledger, spoil func(f *transport.Frame) error) func(transport.Conn) transport.Conn {
	return func(c transport.Conn) transport.Conn { return &tap{c, l, spoil} }
}

// dropped remembers which sources were dropped.
type dropped map[string]error

func (d dropped) note(source string, err error) { d[source] = err }

func TestGet(t *testing.T) {
	from, digest := packed(t, small(), kernels.Q8)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.stop()
		var l ledger
		c.serve("a", from, tapped(&l, nil))
		me, dir := c.node("me"), newDir(t)
		m, err := Get(t.Context(), me, dir, digest, share(0, 1), []string{"a"}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		check(t, m, share(0, 1))
		pieces, _ := share(1, 0)(m.Config())
		if n, err := m.Missing(pieces); err != nil || n == 0 {
			t.Errorf("%d units of another rank are missing, %v", n, err)
		}
		again, err := Get(t.Context(), me, dir, digest, whole, []string{"a"}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		if !again.Present().Full() {
			t.Error("not everything is here")
		}
		if err := again.VerifyAll(t.Context(), nil); err != nil {
			t.Error(err)
		}
		check(t, m, share(1, 0)) // the first map gained what came later
		if units, times := l.most(); units != m.Numbering().Count() || times != 1 {
			t.Errorf("%d of %d units were asked for, up to %d times", units, m.Numbering().Count(), times)
		}
		list, err := dir.List()
		if err != nil || len(list) != 1 || list[0].Present != list[0].Total || list[0].Err != nil {
			t.Errorf("list %+v, %v", list, err)
		}
		alone, err := Get(t.Context(), me, dir, digest, whole, nil, Options{})
		if err != nil {
			t.Fatal("what is here needs no source: ", err)
		}
		alone.Close()
	})
}

func TestGetTheDescriptionAlone(t *testing.T) {
	from, digest := packed(t, small(), kernels.Q4)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.stop()
		c.serve("a", from, nil)
		none := func(model.Config) ([]model.Piece, error) { return nil, nil }
		m, err := Get(t.Context(), c.node("me"), newDir(t), digest, none, []string{"nobody", "a"}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if text, err := m.Tokenizer(); err != nil || len(text) == 0 || m.Present().Len() != 0 || m.Label() != "Small" {
			t.Errorf("tokenizer %q, %v, %d units", text, err, m.Present().Len())
		}
	})
}

// Two sources that each have a part: every unit comes from one that has it, once, and both work.
func TestGetFromSeveralSources(t *testing.T) {
	from, digest := packed(t, small(), kernels.Q8)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.stop()
		c.serve("origin", from, nil)
		var ledgers [3]ledger
		for i, pieces := range []func(model.Config) ([]model.Piece, error){share(0, 0), share(0, 1), whole} {
			dir, name := newDir(t), string(rune('a'+i))
			m, err := Get(t.Context(), c.node("filler-"+name), dir, digest, pieces, []string{"origin"}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			m.Close()
			slow := func(f *transport.Frame) error {
				time.Sleep(time.Duration(len(f.Payload)) * time.Millisecond / 1000) // a megabyte each second
				return nil
			}
			c.serve(name, dir, tapped(&ledgers[i], slow))
		}
		var last, total int64
		m, err := Get(t.Context(), c.node("me"), newDir(t), digest, whole, []string{"a", "b", "c"}, Options{
			Progress: func(done, all int64) {
				if done < last {
					t.Errorf("progress went from %d to %d", last, done)
				}
				last, total = done, all
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		check(t, m, whole)
		if last != total || total == 0 {
			t.Errorf("progress ended at %d of %d", last, total)
		}
		for number := range m.Numbering().Count() {
			if n := ledgers[0].times(number) + ledgers[1].times(number) + ledgers[2].times(number); n != 1 {
				t.Fatalf("unit %d was asked for %d times", number, n)
			}
		}
		for i := range ledgers {
			if units, _ := ledgers[i].most(); units == 0 {
				t.Errorf("source %d had nothing to do", i)
			}
		}
	})
}

// A source that sends a wrong byte is named and not asked again; another one gives what it spoilt.
func TestGetDropsACorruptSource(t *testing.T) {
	from, digest := packed(t, small(), kernels.Q8)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.stop()
		frames := 0
		var bad, good ledger
		c.serve("bad", from, tapped(&bad, func(f *transport.Frame) error {
			if frames++; frames == 7 {
				f.Payload[len(f.Payload)/2] ^= 0x10
			}
			return nil
		}))
		c.serve("good", from, tapped(&good, func(*transport.Frame) error {
			time.Sleep(time.Second) // so that the bad one has its share
			return nil
		}))
		me, gone := c.node("me"), dropped{}
		m, err := Get(t.Context(), me, newDir(t), digest, whole, []string{"bad", "good"}, Options{Dropped: gone.note})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		check(t, m, whole)
		if len(gone) != 1 || !errors.Is(gone["bad"], store.ErrCorrupt) {
			t.Errorf("dropped %v", gone)
		}
	})
}

// Alone, the corrupt source is named in the error with what it could not give, and what was good of it stays.
func TestGetNamesWhatCouldNotBeHad(t *testing.T) {
	from, digest := packed(t, small(), kernels.Q8)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.stop()
		frames := 0
		c.serve("bad", from, tapped(nil, func(f *transport.Frame) error {
			if frames++; frames > 7 && f.Kind == transport.KindPart {
				f.Payload[0] ^= 1
			}
			return nil
		}))
		c.serve("empty", newDir(t), nil)
		c.handle("mute", func(ctx context.Context, conn transport.Conn) error { <-ctx.Done(); return conn.Close() }, nil)
		dir := newDir(t)
		_, err := Get(t.Context(), c.node("me"), dir, digest, whole, []string{"bad", "empty", "mute", "nobody"}, Options{})
		var missing *MissingError
		if !errors.As(err, &missing) || !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
		if missing.Units == 0 || missing.Bytes == 0 || missing.Tensor == "" || len(missing.Sources) != 4 {
			t.Errorf("%+v", missing)
		}
		for _, text := range []string{"node bad: ", "node empty: ", "not found", "node mute: gave nothing in time", "node nobody: ", "unreachable", digest} {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("no %q in %v", text, err)
			}
		}
		list, err := dir.List()
		if err != nil || len(list) != 1 || list[0].Present == 0 || list[0].Present >= list[0].Total {
			t.Errorf("list %+v, %v", list, err)
		}
	})
}

// A connection that breaks is dialled again; what came before is not asked for again.
func TestGetGoesOnAfterABrokenConnection(t *testing.T) {
	from, digest := packed(t, small(), kernels.Q8)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.stop()
		var l ledger
		frames := 0
		c.serve("a", from, tapped(&l, func(*transport.Frame) error {
			if frames++; frames%6 == 0 {
				c.hub.Break("a", "me")
			}
			return nil
		}))
		gone := dropped{}
		m, err := Get(t.Context(), c.node("me"), newDir(t), digest, whole, []string{"a"}, Options{Dropped: gone.note})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		check(t, m, whole)
		if len(gone) != 0 || frames < 18 {
			t.Errorf("dropped %v after %d frames", gone, frames)
		}
	})
}

// A source that falls silent in the middle costs its deadline and no more, and one that is slow gets little to do.
func TestGetFromSilentAndSlowSources(t *testing.T) {
	from, digest := packed(t, small(), kernels.Q8)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.stop()
		frames := 0
		c.serve("silent", from, tapped(nil, func(*transport.Frame) error {
			if frames++; frames > 5 {
				<-c.ctx.Done()
			}
			return nil
		}))
		var slow ledger
		c.serve("slow", from, tapped(&slow, func(f *transport.Frame) error {
			time.Sleep(time.Duration(len(f.Payload)) * 50 * time.Microsecond) // 20 kB each second
			return nil
		}))
		c.serve("quick", from, tapped(nil, func(f *transport.Frame) error {
			time.Sleep(time.Duration(len(f.Payload)) * time.Microsecond)
			return nil
		}))
		gone, start := dropped{}, time.Now()
		m, err := Get(t.Context(), c.node("me"), newDir(t), digest, whole, []string{"silent", "slow", "quick"},
			Options{Dropped: gone.note, Silence: 20 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		check(t, m, whole)
		if len(gone) != 1 || !errors.Is(gone["silent"], ErrSilent) {
			t.Errorf("dropped %v", gone)
		}
		if took := time.Since(start); took < 20*time.Second || took > 30*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestGetKeepsToItsRate(t *testing.T) {
	from, digest := packed(t, small(), kernels.Q8)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.stop()
		c.serve("a", from, nil)
		c.serve("b", from, nil)
		start := time.Now()
		var total int64
		m, err := Get(t.Context(), c.node("me"), newDir(t), digest, whole, []string{"a", "b"}, Options{
			BytesPerSecond: 100_000, Progress: func(_, all int64) { total = all },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		check(t, m, whole)
		want := time.Duration(total) * time.Second / 100_000
		if took := time.Since(start); took < want*9/10 || took > want*11/10 {
			t.Errorf("took %v, want about %v", took, want)
		}
	})
}

func TestServerKeepsToItsRate(t *testing.T) {
	from, digest := packed(t, small(), kernels.Q8)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.stop()
		c.handle("a", (&Server{Dir: from, BytesPerSecond: 100_000}).Serve, nil)
		start := time.Now()
		m, err := Get(t.Context(), c.node("me"), newDir(t), digest, whole, []string{"a"}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		want := time.Duration(m.Numbering().Bytes(m.Present())) * time.Second / 100_000
		if took := time.Since(start); took < want*9/10 || took > want*12/10 {
			t.Errorf("took %v, want about %v", took, want)
		}
	})
}

// copyFolder copies what is on the disk now, as a killed process would leave it.
func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// However far a fetch came before its process was killed, the next one asks for nothing that was written down, and ends with the
// same model.
func TestGetResumesAfterAKill(t *testing.T) {
	from, digest := packed(t, small(), kernels.Q8)
	for kill := 1; ; kill += 5 {
		reached := false
		synctest.Test(t, func(t *testing.T) { reached = killAndResume(t, from, digest, kill) })
		if !reached {
			if kill == 1 {
				t.Fatal("nothing was killed")
			}
			return
		}
	}
}

// killAndResume copies the folder when so many units have come and goes on in the copy. It says whether there were so many.
func killAndResume(t *testing.T, from *store.Dir, digest string, kill int) bool {
	c := newCluster(t)
	defer c.stop()
	var l ledger
	c.serve("a", from, tapped(&l, nil))
	dir, left := newDir(t), filepath.Join(t.TempDir(), "left")
	calls := 0
	m, err := Get(t.Context(), c.node("me"), dir, digest, share(1, 1), []string{"a"}, Options{
		flushBytes: 40 << 10,
		landed: func() {
			if calls++; calls == kill {
				copyFolder(t, dir.Path(), left)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
	if calls < kill {
		return false
	}
	killed, err := store.OpenDir(left)
	if err != nil {
		t.Fatal(err)
	}
	defer killed.Close()
	before, err := killed.Open(digest)
	if err != nil {
		t.Fatal(err)
	}
	here := before.Present()
	before.Close()
	l.count = nil
	m, err = Get(t.Context(), c.node("again"), killed, digest, share(1, 1), []string{"a"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	check(t, m, share(1, 1))
	for number := range m.Numbering().Count() {
		if l.times(number) > 0 && here.Has(number) {
			t.Fatalf("unit %d was here and was asked for", number)
		}
	}
	return true
}

func TestGetStopsWithItsContext(t *testing.T) {
	from, digest := packed(t, small(), kernels.Q8)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.stop()
		c.serve("a", from, nil)
		ctx, cancel := context.WithCancel(t.Context())
		me, dir, calls := c.node("me"), newDir(t), 0
		_, err := Get(ctx, me, dir, digest, whole, []string{"a"}, Options{Progress: func(int64, int64) {
			if calls++; calls == 3 {
				cancel()
			}
		}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("stopped with %v", err)
		}
		list, err := dir.List()
		if err != nil || len(list) != 1 || list[0].Present == 0 {
			t.Errorf("list %+v, %v", list, err)
		}
		m, err := Get(t.Context(), me, dir, digest, whole, []string{"a"}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		m.Close()
	})
}

func TestGetRefuses(t *testing.T) {
	from, digest := packed(t, small(), kernels.Q8)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.stop()
		c.serve("a", from, nil)
		me, dir := c.node("me"), newDir(t)
		odd := errors.New("no such rank")
		for name, pieces := range map[string]func(model.Config) ([]model.Piece, error){
			"pieces": func(model.Config) ([]model.Piece, error) { return nil, odd },
			"tensor": func(model.Config) ([]model.Piece, error) { return []model.Piece{{Name: "h.9.x"}}, nil },
			"slice": func(c model.Config) ([]model.Piece, error) {
				list, err := whole(c)
				list[3].Rows.Hi++
				return list, err
			},
		} {
			if _, err := Get(t.Context(), me, dir, digest, pieces, []string{"a"}, Options{}); err == nil {
				t.Errorf("%s: accepted", name)
			}
		}
		if _, err := Get(t.Context(), me, dir, "abc", whole, []string{"a"}, Options{}); err == nil {
			t.Error("a short digest was accepted")
		}
		other := strings.Repeat("0123456789abcdef", 4)
		if _, err := Get(t.Context(), me, dir, other, whole, []string{"a"}, Options{}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("a model that nobody has: %v", err)
		}
		if _, err := Get(t.Context(), me, newDir(t), digest, whole, nil, Options{}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("no sources: %v", err)
		}
		hash := store.Hash{}
		if err := hash.UnmarshalText([]byte(digest)); err != nil {
			t.Fatal(err)
		}
		p, err := dir.OpenPartial(hash)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Get(t.Context(), me, dir, digest, whole, []string{"a"}, Options{}); !errors.Is(err, store.ErrBusy) {
			t.Errorf("fetched twice at once: %v", err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
}

// The descriptions of a liar are not believed, and the next source is asked.
func TestGetChecksDescriptions(t *testing.T) {
	from, digest := packed(t, small(), kernels.Q8)
	for frame := 1; frame <= 3; frame++ {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t)
			defer c.stop()
			frames := 0
			c.serve("liar", from, tapped(nil, func(f *transport.Frame) error {
				if frames++; frames == frame {
					f.Payload = slices.Clone(f.Payload)
					f.Payload[len(f.Payload)-1] ^= 1
				}
				return nil
			}))
			c.serve("a", from, nil)
			gone := dropped{}
			m, err := Get(t.Context(), c.node("me"), newDir(t), digest, share(0, 0), []string{"liar", "a"}, Options{Dropped: gone.note})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			check(t, m, share(0, 0))
			if !errors.Is(gone["liar"], store.ErrCorrupt) {
				t.Errorf("dropped %v", gone)
			}
		})
	}
}
