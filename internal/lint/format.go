package lint

import (
	"bytes"
	"go/format"
)

// CheckFormat finds Go files that gofmt would change.
func CheckFormat(tree *Tree) []Problem {
	var problems []Problem
	for _, f := range tree.Files {
		formatted, err := format.Source(f.Data)
		switch {
		case err != nil:
			problems = append(problems, Problem{f.Path, 0, err.Error()})
		case !bytes.Equal(formatted, f.Data):
			problems = append(problems, Problem{f.Path, 0, "not formatted: run gofmt -w " + f.Path})
		}
	}
	return problems
}
