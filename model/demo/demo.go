package demo

import (
	_ "embed"

	"polynode/model/store"
)

//go:generate go test -run TestCurrent -update .

//go:embed udhr.pn
var packed []byte

const (
	// Name is what the model is called where models have names.
	Name = "udhr"
	// Prompt begins a sentence that the model knows how to end.
	Prompt = "Alle Menschen sind frei und"
)

// Open opens the embedded model. Its weights are part of the binary: nothing is copied, and pages that are not used are
// never read.
func Open() (*store.Model, error) { return store.OpenBytes(Name+".pn (embedded)", packed) }
