package api

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// plainStop is the definition: walk the text byte by byte; the first byte at which a stop string is complete ends it.
func plainStop(text string, stops []string) (string, bool) {
	for end := 1; end <= len(text); end++ {
		longest := ""
		for _, s := range stops {
			if strings.HasSuffix(text[:end], s) && len(s) > len(longest) {
				longest = s
			}
		}
		if longest != "" {
			return text[:end-len(longest)], true
		}
	}
	return text, false
}

func TestStopper(t *testing.T) {
	for _, c := range []struct {
		name   string
		stops  []string
		pieces []string
		want   string
		met    bool
	}{
		{"none", nil, []string{"a", "b"}, "ab", false},
		{"within a piece", []string{"x"}, []string{"abxcd"}, "ab", true},
		{"across pieces", []string{"END"}, []string{"aE", "N", "Db"}, "a", true},
		{"false start is sent", []string{"END"}, []string{"aE", "N", "x"}, "aENx", false},
		{"false start at the end", []string{"END"}, []string{"aEN"}, "aEN", false},
		{"overlapping starts", []string{"aab"}, []string{"a", "a", "a", "b"}, "a", true},
		{"the first to be complete", []string{"abcd", "bc"}, []string{"abcd"}, "a", true},
		{"the longest at one place", []string{"c", "bc"}, []string{"abc"}, "a", true},
		{"of many bytes", []string{"世界"}, []string{"你好世", "界!"}, "你好", true},
		{"at the beginning", []string{"a"}, []string{"abc"}, "", true},
		{"nothing after", []string{"\n"}, []string{"a\n", "b\n", "c"}, "a", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStopper(c.stops)
			got := ""
			for _, p := range c.pieces {
				got += s.write(p)
			}
			got += s.flush()
			if got != c.want || (s.met >= 0) != c.met {
				t.Errorf("got %q, met %d; want %q, %v", got, s.met, c.want, c.met)
			}
		})
	}
}

// checkStopper compares a stopper fed in pieces of the given sizes with the definition, and what it holds with what it may.
func checkStopper(t interface{ Fatalf(string, ...any) }, text string, stops []string, sizes []int) {
	s := newStopper(stops)
	got, rest := "", text
	for i := 0; rest != ""; i++ {
		n := len(rest)
		if i < len(sizes) {
			n = min(n, max(1, sizes[i]))
		}
		got += s.write(rest[:n])
		rest = rest[n:]
		fed := text[:len(text)-len(rest)]
		if s.met < 0 && got+s.held != fed {
			t.Fatalf("after %q: sent %q and holds %q", fed, got, s.held)
		}
		begins := s.held == ""
		for _, stop := range stops {
			begins = begins || strings.HasPrefix(stop, s.held) && len(s.held) < len(stop)
		}
		if !begins {
			t.Fatalf("holds %q, which begins none of %q", s.held, stops)
		}
	}
	got += s.flush()
	if want, met := plainStop(text, stops); got != want || met != (s.met >= 0) {
		t.Fatalf("text %q, stops %q, sizes %v: got %q, want %q", text, stops, sizes, got, want)
	}
}

func TestStopperAgreesWithItsDefinition(t *testing.T) {
	letters := rapid.StringOfN(rapid.RuneFrom([]rune("ab")), 1, 5, -1)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune("abc")), 0, 30, -1).Draw(t, "text")
		stops := rapid.SliceOfN(letters, 0, 4).Draw(t, "stops")
		sizes := rapid.SliceOf(rapid.IntRange(1, 6)).Draw(t, "sizes")
		checkStopper(t, text, stops, sizes)
	})
}

func FuzzStopper(f *testing.F) {
	f.Add("hello world", "lo", "wor", "", []byte{1, 2, 3})
	f.Add("aaab", "aab", "b", "ab", []byte{})
	f.Add("你好世界", "世界", "\xe4", "", []byte{1, 1, 1, 1, 1, 1})
	f.Fuzz(func(t *testing.T, text, a, b, c string, cuts []byte) {
		var stops []string
		for _, s := range []string{a, b, c} {
			if s != "" {
				stops = append(stops, s)
			}
		}
		sizes := make([]int, len(cuts))
		for i, n := range cuts {
			sizes[i] = int(n % 16)
		}
		checkStopper(t, text, stops, sizes)
	})
}
