package model_test

import (
	"flag"
	"os"
	"testing"
)

// A check of this package is a run of a whole model, so twenty are plenty unless the command line asks for more.
func TestMain(m *testing.M) {
	_ = flag.Set("rapid.checks", "20")
	flag.Parse()
	os.Exit(m.Run())
}
