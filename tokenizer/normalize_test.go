package tokenizer

import "testing"

func TestNormalize(t *testing.T) {
	rules := buildCharsmap(map[string]string{"\t": " ", "é": "e", "x": "", "q": "  q ", "ab": "AB", "\u3000": " "})
	symbols := newTrie(4)
	if err := symbols.insertAll([]byte("abz  z"), []insertion{{at: 0, end: 3, id: 1}, {at: 3, end: 6, id: 2}}, 100); err != nil {
		t.Fatal(err)
	}
	charsmap, err := newCharsmap(rules, "f")
	if err != nil {
		t.Fatal(err)
	}
	plain := normalizer{space: '▁'}
	dummy := normalizer{space: '▁', dummyPrefix: true}
	suffix := normalizer{space: '▁', dummyPrefix: true, suffix: true}
	trim := normalizer{space: '▁', dummyPrefix: true, trim: true}
	full := normalizer{space: '▁', dummyPrefix: true, trim: true, charsmap: charsmap}
	mapped := normalizer{space: '▁', charsmap: charsmap, symbols: &symbols}
	raw := normalizer{space: ' ', trim: true, dummyPrefix: true}
	for _, c := range []struct {
		name       string
		n          normalizer
		text, want string
	}{
		{"plain", plain, " a  b ", "▁a▁▁b▁"},
		{"plain, malformed", plain, "a\xffb\xe2\x96", "a\uFFFDb\uFFFD\uFFFD"},
		{"plain, surrogate", plain, "\xed\xa0\x80", "\uFFFD\uFFFD\uFFFD"},
		{"plain, zero byte", plain, "\x00", "\x00"},
		{"dummy", dummy, "a b", "▁a▁b"},
		{"dummy, empty", dummy, "", ""},
		{"dummy, space", dummy, " ", "▁▁"},
		{"suffix", suffix, "a b", "a▁b▁"},
		{"trim", trim, "  a   b  ", "▁a▁b"},
		{"trim, only spaces", trim, "   ", ""},
		{"trim, symbol in text", trim, "▁▁a▁", "▁▁▁a"},
		{"full", full, "\t é\t\tab \u3000", "▁e▁AB"},
		{"full, only deleted", full, "xx", ""},
		{"full, deleted then spaces", full, "x  a", "▁a"},
		{"full, spaces in a rule", full, "qq", "▁q▁q"},
		{"mapped", mapped, "abxé", "ABe"},
		{"mapped, symbol protected", mapped, "abzab", "abzAB"},
		{"mapped, symbol with spaces", mapped, "  z  ", "▁▁z▁▁"},
		{"raw", raw, " a  b ", " a b"},
	} {
		if got := string(c.n.normalize(nil, c.text)); got != c.want {
			t.Errorf("%s: %q becomes %q, want %q", c.name, c.text, got, c.want)
		}
	}
}
