package tokenizer

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

func protoNumber(n uint64) protowire.Number { return protowire.Number(n) }

// buildCharsmap makes a precompiled_charsmap of rules, with a double array laid out first come, first served.
func buildCharsmap(rules map[string]string) []byte {
	texts, values := "", map[string]uint32{}
	keys := slices.Sorted(maps.Keys(rules))
	for _, k := range keys {
		values[k] = uint32(len(texts))
		texts += rules[k] + "\x00"
	}
	units := []uint32{0}
	used := map[uint32]bool{0: true}
	bases := map[uint32]bool{} // two nodes of one base would share their children
	place := func(i, unit uint32) {
		for int(i) >= len(units) {
			units = append(units, unitLeaf) // matches no byte
		}
		units[i] = unit
		used[i] = true
	}
	var build func(at uint32, prefix string)
	build = func(at uint32, prefix string) {
		labels := map[byte]bool{}
		for _, k := range keys {
			if len(k) > len(prefix) && strings.HasPrefix(k, prefix) {
				labels[k[len(prefix)]] = true
			}
		}
		value, end := values[prefix]
		base := uint32(1)
		for ; ; base++ {
			free := !bases[base] && (!end || !used[base])
			for l := range labels {
				free = free && !used[base^uint32(l)]
			}
			if free {
				break
			}
		}
		bases[base] = true
		units[at] |= (at ^ base) << 10
		if end {
			units[at] |= 1 << 8
			place(base, unitLeaf|value)
		}
		for _, l := range slices.Sorted(maps.Keys(labels)) {
			place(base^uint32(l), uint32(l))
		}
		for _, l := range slices.Sorted(maps.Keys(labels)) {
			build(base^uint32(l), prefix+string([]byte{l}))
		}
	}
	build(0, "")
	for len(units)%256 != 0 {
		units = append(units, unitLeaf)
	}
	return packCharsmap(units, texts)
}

func packCharsmap(units []uint32, texts string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(4*len(units)))
	for _, u := range units {
		b = binary.LittleEndian.AppendUint32(b, u)
	}
	return append(b, texts...)
}

func TestCharsmapLongest(t *testing.T) {
	c, err := newCharsmap(buildCharsmap(map[string]string{"a": "1", "ab": "", "abcd": "four", "é": "e", "\xc3": "half"}), "f")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		text, want string
		size       int
	}{
		{"", "", 0}, {"x", "", 0}, {"a", "1", 1}, {"ax", "1", 1}, {"ab", "", 2}, {"abc", "", 2}, {"abcde", "four", 4},
		{"é", "e", 2}, {"\xc3x", "half", 1}, {"\x00", "", 0}, {"a\x00", "1", 1},
	} {
		if got, size := c.longest(x.text); got != x.want || size != x.size {
			t.Errorf("%q: got %q of %d bytes, want %q of %d", x.text, got, size, x.want, x.size)
		}
	}
	for text, want := range map[string]bool{"a": true, "ab": true, "abc": true, "abcd": false, "b": false, "abx": false, "\xc3": true, "é": false} {
		if got := c.undecided(text); got != want {
			t.Errorf("undecided(%q) is %v", text, got)
		}
	}
}

// TestCharsmapHostile: every broken blob is refused with its sentinel and the field's name.
func TestCharsmapHostile(t *testing.T) {
	good := buildCharsmap(map[string]string{"ab": "x", "abc": "y"})
	unit := func(i int, u uint32) []byte {
		b := slices.Clone(good)
		binary.LittleEndian.PutUint32(b[4+4*i:], u)
		return b
	}
	find := func(match func(u uint32) bool) int {
		for i := 1; i < 256; i++ {
			if match(binary.LittleEndian.Uint32(good[4+4*i:])) {
				return i
			}
		}
		t.Fatal("no such unit")
		return 0
	}
	a := find(func(u uint32) bool { return u&unitLabel == 'a' })
	b := find(func(u uint32) bool { return u&unitLabel == 'b' })
	leaf := find(func(u uint32) bool { return u&unitLeaf != 0 && u != unitLeaf })
	baseOfRoot := uint32(a) ^ 'a'
	for name, c := range map[string]struct {
		blob []byte
		want error
	}{
		"too short":           {[]byte{1, 2, 3}, ErrInvalid},
		"only a size":         {[]byte{0, 4, 0, 0}, ErrInvalid},
		"size past the end":   {good[:100], ErrInvalid},
		"size near 2^32":      {append([]byte{0, 0xfc, 0xff, 0xff}, good[4:]...), ErrInvalid},
		"size not of blocks":  {append([]byte{8, 0, 0, 0}, good[4:]...), ErrInvalid},
		"offset out of range": {unit(a, 'a'|1<<20<<10), ErrInvalid},
		"root out of range":   {unit(0, 1<<20<<10), ErrInvalid},
		"cycle":               {unit(b, 'b'|(uint32(b)^baseOfRoot)<<10), ErrInvalid},
		"value past the end":  {unit(leaf, unitLeaf|1<<20), ErrInvalid},
		"no value":            {unit(leaf, 0), ErrInvalid},
		"no end of text":      {good[:len(good)-1], ErrInvalid},
		"not UTF-8":           {buildCharsmap(map[string]string{"a": "\xff"}), ErrInvalid},
		"long replacement":    {buildCharsmap(map[string]string{"a": strings.Repeat("x", MaxReplacementBytes+1)}), ErrTooLarge},
		"long rule":           {buildCharsmap(map[string]string{strings.Repeat("x", MaxRuleBytes+1): "y"}), ErrTooLarge},
	} {
		_, err := newCharsmap(c.blob, "normalizer_spec.precompiled_charsmap")
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), "precompiled_charsmap") {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	for name, rules := range map[string]map[string]string{
		"longest replacement": {"a": strings.Repeat("x", MaxReplacementBytes)},
		"longest rule":        {strings.Repeat("x", MaxRuleBytes): "y"},
	} {
		if _, err := newCharsmap(buildCharsmap(rules), "f"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCharsmapSharedTails: keys may share their tails, and a shared tail is checked against the longest way to it.
func TestCharsmapSharedTails(t *testing.T) {
	units := make([]uint32, 512)
	for i := range units {
		units[i] = unitLeaf
	}
	// Root's base is 256; "a" and "b" both lead to base 1, where "c" is a key.
	units[0] = 256 << 10
	units[256^'a'] = 'a' | (256^'a'^1)<<10
	units[256^'b'] = 'b' | (256^'b'^1)<<10
	units[1^'c'] = 'c' | 1<<8 | (1^'c'^2)<<10
	units[2] = unitLeaf // value 0
	c, err := newCharsmap(packCharsmap(units, "z\x00"), "f")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"ac", "bc"} {
		if got, size := c.longest(text); got != "z" || size != 2 {
			t.Errorf("%q: got %q of %d bytes", text, got, size)
		}
	}
}
