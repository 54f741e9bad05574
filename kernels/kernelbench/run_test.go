package kernelbench

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"polynode/kernels"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quick is a benchmark that says nothing and takes no time.
func quick() Options { return Options{Threads: 2, Time: time.Nanosecond, Bytes: 4 << 20} }

// Every row measures something, in every format, and its shares are the quotients of its rates.
func TestRun(t *testing.T) {
	options := quick()
	if testing.Short() {
		options.Only = regexp.MustCompile(`gemv/q[48]/5120x5120|t=[38]$|attention/.*/128|vector`)
	}
	var rows []Row
	report, err := Run(t.Context(), options, func(Report) {}, func(r Row) { rows = append(rows, r) })
	if err != nil {
		t.Fatal(err)
	}
	if report.Threads != 2 || report.Tier != kernels.Active().String() || !(report.Read.Best > 0) || len(report.Peaks) != len(kernels.Tiers()) {
		t.Errorf("report %+v", report)
	}
	if len(rows) != len(report.Rows) || !testing.Short() && len(rows) != 3*len(shapes)+3*len(columns)+2*len(contexts)+6 {
		t.Errorf("%d rows, %d in the report", len(rows), len(report.Rows))
	}
	kinds := map[string]int{}
	for _, r := range rows {
		kinds[r.Kind]++
		if r.Passes < passesMin || !strings.HasPrefix(r.Name, r.Kind+"/") || !strings.HasPrefix(r.String(), r.Name) {
			t.Errorf("row %+v", r)
		}
		want := map[string][]bool{ // GB/s, GOP/s, ns, share of the read loop, share of the peak
			"gemv": {true, false, false, true, false}, "gemm": {true, true, false, false, r.Format != "bf16"},
			"attention": {true, false, false, true, false}, "vector": {false, false, true, false, false},
		}[r.Kind]
		var has []bool
		for _, rate := range []*Rate{r.GBs, r.GOPs, r.Each, r.Read, r.Peak} {
			has = append(has, rate != nil && rate.Best > 0 && rate.Median > 0)
		}
		if !slices.Equal(has, want) {
			t.Errorf("%s has %v, want %v", r.Name, has, want)
		}
	}
	if len(kinds) != 4 {
		t.Errorf("kinds %v", kinds)
	}
}

// The names in the JSON are what scripts read.
func TestJSON(t *testing.T) {
	rate := &Rate{2, 1}
	text, err := json.Marshal(Report{
		Tier: "generic", Threads: 2, Arch: "amd64", Bytes: 3, Read: *rate, Peaks: []Peak{{"generic", *rate}},
		Rows: []Row{{"gemm/q4/t=2", "gemm", "q4", 4, 5, 6, 7, 8, rate, rate, rate, rate, rate}, {Name: "vector/add/1", Kind: "vector", Passes: 3}},
	})
	const two = `{"best":2,"median":1}`
	want := `{"tier":"generic","threads":2,"arch":"amd64","buffer_bytes":3,"read_gb_per_s":` + two +
		`,"peaks":[{"tier":"generic","gop_per_s":` + two + `}],"rows":[{"name":"gemm/q4/t=2","kind":"gemm","format":"q4","outputs":4,"inputs":5,` +
		`"columns":6,"context":7,"passes":8,"gb_per_s":` + two + `,"gop_per_s":` + two + `,"ns_per_element":` + two + `,"read_share":` + two +
		`,"peak_share":` + two + `},{"name":"vector/add/1","kind":"vector","passes":3}]}`
	if err != nil || string(text) != want {
		t.Errorf("%v: got\n%s\nwant\n%s", err, text, want)
	}
}

func TestRunChoosesATierAndPutsItBack(t *testing.T) {
	before := kernels.Active()
	options := quick()
	options.Tier, options.Only = kernels.Generic, regexp.MustCompile("^vector/add")
	report, err := Run(t.Context(), options, func(Report) {}, func(Row) {
		if kernels.Active() != kernels.Generic {
			t.Error("measured on another tier")
		}
	})
	if err != nil || report.Tier != "generic" || len(report.Rows) != 1 || kernels.Active() != before {
		t.Errorf("%v, %s kernels, %d rows, then %s", err, report.Tier, len(report.Rows), kernels.Active())
	}
}

func TestRunRefuses(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"threads": func(o *Options) { o.Threads = -1 }, "many threads": func(o *Options) { o.Threads = ThreadsMax + 1 },
		"time": func(o *Options) { o.Time = 0 }, "buffer": func(o *Options) { o.Bytes = BytesMin - 1 }, "large buffer": func(o *Options) { o.Bytes = BytesMax + 1 },
	} {
		options := quick()
		change(&options)
		if _, err := Run(t.Context(), options, nil, nil); !errors.Is(err, ErrOptions) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	options := quick()
	options.Tier = 99
	if _, err := Run(t.Context(), options, nil, nil); !errors.Is(err, kernels.ErrTier) {
		t.Errorf("tier: error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	options = quick()
	if _, err := Run(ctx, options, func(Report) {}, func(Row) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
}

// Passes walk through the buffer and never leave it.
func TestBufferNext(t *testing.T) {
	b := buffer{data: make([]byte, 1000)}
	starts := []int{}
	for range 5 {
		part := b.next(300)
		starts = append(starts, cap(b.data)-cap(part))
		if len(part) != 300 {
			t.Fatalf("%d bytes", len(part))
		}
	}
	if want := []int{0, 320, 640, 0, 320}; !slices.Equal(starts, want) {
		t.Errorf("parts begin at %v, want %v", starts, want)
	}
	if got := len(b.next(2000)); got != 1000 {
		t.Errorf("%d of 1000 bytes", got)
	}
}
