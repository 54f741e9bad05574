package model_test

import (
	"flag"
	"os"
	"slices"
	"testing"
)

// A check of this package is a run of a whole model, so twenty are plenty unless the command line asks for more.
func TestMain(m *testing.M) {
	checks := "20"
	if slices.Contains(os.Args, "-test.short=true") {
		checks = "2"
	}
	_ = flag.Set("rapid.checks", checks)
	flag.Parse()
	os.Exit(m.Run())
}
