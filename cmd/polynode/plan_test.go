package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"polynode/configs"
	"polynode/node"
)

const clusters = "../../configs/clusters/"

// The examples give plans, and the text says what is in them.
func TestPlanWhatIf(t *testing.T) {
	for _, test := range []struct {
		file string
		args []string
		want []string
	}{
		{"raspberry-pi-5.yaml", nil, []string{
			"four Raspberry Pi 5: 4 nodes, polylm-13b in q4", "plan for latency: 1 stage, 4 ranks", "no single node has room", "pi4", "fault tolerance 1: any one node may die",
		}},
		{"office.yaml", []string{"--explain"}, []string{
			"predicted milliseconds a token", "WEIGHTS  ATTENTION", "a token", "plans priced", "it is a witness", "the best single node would be new1",
		}},
		{"office.yaml", []string{"--objective", "throughput", "--model", "polylm-1.7b", "--quant", "q8", "--kv-format", "q8"}, []string{
			"polylm-1.7b in q8", "keys and values in q8", "plan for throughput", "of each of 16 sequences",
		}},
		{"mixed-rack.yaml", nil, []string{`its numeric class is "cuda"`, "it is being drained"}},
	} {
		out, err := polynode(t, t.TempDir(), "", append([]string{"plan", "--what-if", clusters + test.file}, test.args...)...)
		if err != nil {
			t.Errorf("%s: %v", test.file, err)
		}
		for _, want := range test.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s %v lacks %q:\n%s", test.file, test.args, want, out)
			}
		}
	}
}

func TestPlanWhatIfAsJSON(t *testing.T) {
	out, err := polynode(t, t.TempDir(), "", "plan", "--what-if", clusters+"office.yaml", "--json")
	var report node.WhatIfReport
	if err != nil || json.Unmarshal([]byte(out), &report) != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if report.Nodes != 9 || report.Report.Plan == nil || len(report.Report.Ranks)+len(report.Report.Idle) != 9 || report.Report.Times.TokensPerS <= 0 {
		t.Errorf("%+v", report)
	}
}

func TestPlanWhatIfRefuses(t *testing.T) {
	dir := t.TempDir()
	small := filepath.Join(dir, "small.yaml")
	text := "nodes:\n  - {name: a, memory: 2GiB, read-gb-per-s: 10, multiply-gop-per-s: 100}\n"
	if err := os.WriteFile(small, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	wrong := filepath.Join(dir, "wrong.yaml")
	if err := os.WriteFile(wrong, []byte(text+"cores: 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		is   error
		want string
	}{
		{[]string{"--url", "http://127.0.0.1:1"}, errNoNode, "--what-if"},
		{[]string{"--quant", "q8"}, errUsage, "--what-if"},
		{[]string{"--what-if", filepath.Join(dir, "none.yaml")}, os.ErrNotExist, "none.yaml"},
		{[]string{"--what-if", wrong}, configs.ErrInvalid, "line 3: cores: unknown key"},
		{[]string{"--what-if", small}, node.ErrNoPlan, "a, which has most, lacks"},
		{[]string{"--what-if", small, "--model", "polylm-7b"}, configs.ErrInvalid, "no preset"},
		{[]string{"--what-if", small, "--quant", "q3"}, configs.ErrInvalid, "q3"},
		{[]string{"--what-if", small, "--kv-format", "q3"}, configs.ErrInvalid, "q3"},
		{[]string{"--what-if", small, "--objective", "speed"}, nil, `objective "speed"`},
		{[]string{"--what-if", small, "more"}, errUsage, "no arguments"},
	} {
		out, err := polynode(t, t.TempDir(), "", append([]string{"plan"}, test.args...)...)
		if err == nil || test.is != nil && !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: %v, want %q\n%s", test.args, err, test.want, out)
		}
	}
	out, err := polynode(t, t.TempDir(), "", "plan", "--what-if", small)
	if err == nil || !strings.Contains(out, "no plan") || !strings.Contains(out, "alone it lacks") {
		t.Errorf("%v\n%s", err, out)
	}
}

// A model of the library is planned as it is, and asking for one that is not there leaves nothing behind.
func TestPlanWhatIfForAnImportedModel(t *testing.T) {
	data, folder := t.TempDir(), filepath.Join("..", "..", "model", "demo", "checkpoint")
	out, err := polynode(t, data, "", "plan", "--what-if", clusters+"raspberry-pi-5.yaml", "--model", "udhr")
	if err == nil || !strings.Contains(err.Error(), "no preset") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(data, "models")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("planning made a folder: %v", err)
	}
	if out, err := polynode(t, data, "", "model", "import", folder, "--name", "udhr", "--quant", "q8"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err = polynode(t, data, "", "plan", "--what-if", clusters+"raspberry-pi-5.yaml", "--model", "udhr")
	if err != nil || !strings.Contains(out, "udhr in q8") || !strings.Contains(out, "1 stage, 1 rank") {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = polynode(t, data, "", "plan", "--what-if", clusters+"raspberry-pi-5.yaml", "--model", "nothing")
	if err == nil || !strings.Contains(err.Error(), "has no model of that name") {
		t.Errorf("%v\n%s", err, out)
	}
}
