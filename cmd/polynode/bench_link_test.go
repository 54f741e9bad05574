package main

import (
	"strings"
	"testing"
)

func TestBenchLinkNamesMistakes(t *testing.T) {
	for flag, value := range map[string]string{"--rate": "0", "--delay": "-1s"} {
		if _, err := polynode(t, t.TempDir(), "", "bench", "link", flag, value); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s %s: error %v", flag, value, err)
		}
	}
	for flag, value := range map[string]string{"--bytes": "0", "--tokens": "0", "--syncs": "0", "--path": "moon", "--over": "pigeon", "--compute": "-1s"} {
		if out, err := polynode(t, t.TempDir(), "", "bench", "link", flag, value); err == nil || !strings.Contains(err.Error(), "measure link: ") {
			t.Errorf("%s %s: %v: %s", flag, value, err, out)
		}
	}
}

// The processes of a measurement end with their input, whatever it is.
func TestBenchLinkRoles(t *testing.T) {
	for _, role := range []string{"peer", "relay"} {
		for _, input := range []string{"", "garbage"} {
			if out, err := polynode(t, t.TempDir(), input, "bench", "link", role); err == nil || !strings.Contains(err.Error(), "setup") {
				t.Errorf("%s: %v: %s", role, err, out)
			}
		}
	}
}
