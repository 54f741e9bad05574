//go:build linux || darwin || freebsd || netbsd || openbsd

package checkpoint

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPipes refuses pipes in the place of files; opening one would wait for ever.
func TestPipes(t *testing.T) {
	pipe := func(v variant, name string) func(testing.TB, string) {
		return func(t testing.TB, dir string) {
			if name != configFile {
				v.writeConfig(t, dir)
			}
			if err := unix.Mkfifo(filepath.Join(dir, name), 0o644); err != nil {
				t.Skip("no named pipes here:", err)
			}
		}
	}
	var cases []hostile
	for _, name := range []string{configFile, "model.safetensors", "pytorch_model.bin", "model.safetensors.index.json", "pytorch_model.bin.index.json"} {
		cases = append(cases, hostile{name, pipe(variant{}, name), ErrFolder, []string{name, "regular"}})
	}
	checkHostile(t, cases)
}
