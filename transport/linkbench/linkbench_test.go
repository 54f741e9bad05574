package linkbench

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"polynode/internal/relay"
)

var role = flag.String("role", "", "run as this process of a measurement")

// TestMain lets the test's binary be the other processes.
func TestMain(m *testing.M) {
	flag.Parse()
	if *role == "" {
		goleak.VerifyTestMain(m)
		return
	}
	run := map[string]func(context.Context) error{
		"peer":  func(ctx context.Context) error { return Peer(ctx, os.Stdin, os.Stdout) },
		"relay": func(ctx context.Context) error { return Relay(ctx, os.Stdin, os.Stdout) },
	}[*role]
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func small() Options {
	return Options{
		Bytes: []int{3000}, Syncs: 5, Tokens: 2, Compute: 10 * time.Microsecond,
		Link: relay.Link{Delay: 100 * time.Microsecond, Rate: 1_000_000_000},
		Command: func(role string) (string, []string, error) {
			self, err := os.Executable()
			return self, []string{"-role=" + role}, err
		},
	}
}

func TestRun(t *testing.T) {
	var rows []Row
	report, err := Run(t.Context(), small(), func(r Row) { rows = append(rows, r) })
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != len(Paths)*len(Carriers) || len(report.Rows) != len(rows) || !(report.Computing > 0) || report.Procs < 1 {
		t.Fatalf("%+v", report)
	}
	for _, r := range rows {
		if r.Error != "" || !(r.P50 > 0) || r.P99 < r.P50 || r.TokenBytes < 2*5*3000*3/4 { // what is under way at the end is not counted
			t.Errorf("%+v", r)
		}
		if line := r.String(); !strings.HasPrefix(line, r.Path) || !strings.Contains(line, r.Carrier) {
			t.Errorf("line %q", line)
		}
	}
}

func TestRunSelects(t *testing.T) {
	o := small()
	o.Paths, o.Over, o.NoPoll = []string{"loopback"}, []string{"quic"}, true
	report, err := Run(t.Context(), o, func(Row) {})
	if err != nil || len(report.Rows) != 1 || report.Rows[0].Carrier != "quic" || report.Rows[0].Path != "loopback" {
		t.Errorf("%+v, %v", report, err)
	}
}

func TestRunRefuses(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"bytes":     func(o *Options) { o.Bytes = []int{BytesMax + 1} },
		"no bytes":  func(o *Options) { o.Bytes = nil },
		"syncs":     func(o *Options) { o.Syncs = SyncsMax + 1 },
		"tokens":    func(o *Options) { o.Tokens = 0 },
		"computing": func(o *Options) { o.Compute = time.Hour },
		"path":      func(o *Options) { o.Paths = []string{"moon"} },
		"carrier":   func(o *Options) { o.Over = []string{"pigeon"} },
		"program":   func(o *Options) { o.Command = func(string) (string, []string, error) { return "/nowhere", nil, nil } },
	} {
		o := small()
		change(&o)
		if _, err := Run(t.Context(), o, func(Row) {}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
