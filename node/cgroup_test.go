package node

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCgroupAvailable(t *testing.T) {
	root := t.TempDir()
	write := func(group string, files map[string]string) {
		folder := filepath.Join(root, group)
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(folder, name), []byte(text+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	write("box", map[string]string{"memory.max": "1000", "memory.current": "900", "memory.stat": "anon 300\nfile 600\nactive_file 200\ninactive_file 400\nactive_file_x 7"})
	write("box/free", map[string]string{"memory.max": "max", "memory.current": "10"})
	write("box/tight", map[string]string{"memory.max": "500", "memory.current": "450"})
	write("box/over", map[string]string{"memory.max": "500", "memory.current": "700"})
	write("memory/old", map[string]string{"memory.limit_in_bytes": "2000", "memory.usage_in_bytes": "1500", "memory.stat": "active_file 5\ntotal_active_file 100\ntotal_inactive_file 400"})
	write("memory", map[string]string{"memory.limit_in_bytes": "9223372036854771712", "memory.usage_in_bytes": "99999"})
	for _, c := range []struct {
		membership string
		want       int64
		ok         bool
	}{
		{"0::/box\n", 700, true},
		{"0::/box/free\n", 700, true},
		{"0::/box/tight\n", 50, true},
		{"0::/box/over\n", 0, true},
		{"0::/elsewhere/../box\n", 700, true},
		{"0::/not/mounted/here\n", 0, false},
		{"0::/../../../etc\n", 0, false},
		{"9:name=systemd:/box\n4:memory:/old\n0::/\n", 1000, true},
		{"4:cpu,memory:/old/gone\n", 1000, true},
		{"nonsense\n\n", 0, false},
		{"", 0, false},
	} {
		if got, ok := cgroupAvailable(root, c.membership); ok != c.ok || ok && got != c.want {
			t.Errorf("%q: %d, %v, want %d, %v", c.membership, got, ok, c.want, c.ok)
		}
	}
}
