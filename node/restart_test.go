package node

import (
	"path/filepath"
	"testing"

	"polynode/configs"
	"polynode/kernels"
)

// Who starts a node with the demo model and then again with a model of their own gets that one; without a name it stays.
func TestAModelNamedAtARestartIsServed(t *testing.T) {
	config := clusterConfig(t, "one")
	library, err := OpenLibrary(config.Data)
	if err != nil {
		t.Fatal(err)
	}
	defer library.Close()
	options := ImportOptions{Name: "m", Format: kernels.Q4, EOS: -1}
	if _, err := library.Import(t.Context(), filepath.Join("..", "model", "demo", "checkpoint"), options); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ named, want string }{{"", "udhr"}, {"m", "m"}, {"", "m"}} {
		t.Run(c.named, func(t *testing.T) {
			n := start(t, func(s *configs.Config) { *s = config; s.Model = c.named })
			if got := n.Info().Model; got != c.want {
				t.Errorf("--model %q serves %s, want %s", c.named, got, c.want)
			}
		})
	}
}
