package main

import (
	"encoding/json"
	"strings"
	"testing"

	"polynode/kernels/kernelbench"
)

func TestBenchKernels(t *testing.T) {
	args := []string{"bench", "kernels", "--threads", "2", "--time", "1ns", "--buffer", "4", "--tier", "generic", "--only", "gemv/q4/5120x5120|vector/add"}
	out, err := polynode(t, t.TempDir(), "", append(args, "--json")...)
	var report kernelbench.Report
	if err != nil || json.Unmarshal([]byte(out), &report) != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if report.Tier != "generic" || report.Threads != 2 || len(report.Rows) != 2 || report.Rows[0].Name != "gemv/q4/5120x5120" || !(report.Read.Best > 0) {
		t.Errorf("%s", out)
	}
	out, err = polynode(t, t.TempDir(), "", args...)
	for _, want := range []string{"gemv/q4/5120x5120 ", "of the read loop\n", "vector/add/5120 ", "ns per element", "generic kernels on 2 threads", "\nread loop ", "\npeak of generic "} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%v: the table lacks %q:\n%s", err, want, out)
		}
	}
}

func TestBenchKernelsNamesMistakes(t *testing.T) {
	for flag, value := range map[string]string{"--tier": "mmx", "--only": "(", "--threads": "-1", "--time": "0s", "--buffer": "0"} {
		if _, err := polynode(t, t.TempDir(), "", "bench", "kernels", flag, value); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s %s: error %v", flag, value, err)
		}
	}
}
