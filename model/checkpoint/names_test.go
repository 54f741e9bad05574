package checkpoint

import "testing"

// TestSplitLayer takes names apart and accepts each layer's number in one spelling only.
func TestSplitLayer(t *testing.T) {
	for name, want := range map[string]struct {
		layer int
		part  string
	}{
		"h.0.ln_1.weight": {0, "ln_1.weight"}, "h.17.attn.bias": {17, "attn.bias"}, "h.3.": {3, ""},
	} {
		layer, part, ok := splitLayer(name)
		if !ok || layer != want.layer || part != want.part {
			t.Errorf("splitLayer(%q) = %d, %q, %v, want %d, %q", name, layer, part, ok, want.layer, want.part)
		}
	}
	for _, name := range []string{"", "h", "h.", "h.0", "h.00.x", "h.01.x", "h.+1.x", "h.-1.x", "h. 1.x", "h.1_0.x", "h.x.y", "g.0.x", "h.0x1.y",
		"h.9223372036854775808.x"} {
		if layer, part, ok := splitLayer(name); ok {
			t.Errorf("splitLayer(%q) = %d, %q, want none", name, layer, part)
		}
	}
}
