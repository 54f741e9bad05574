package lint

import (
	"bytes"
	"fmt"
	"go/ast"
)

// Sizes are the largest rooms and the longest stories that the house allows, in lines.
const (
	FileLinesMax     = 600
	FunctionLinesMax = 80
	TestLinesMax     = 120 // of a function in a test: tables of cases are long
)

// Ratchet holds what was too long when the rule came, with its length: it may shrink, never grow.
type Ratchet map[string]int

// CheckFileSizes finds Go files that are too long.
func CheckFileSizes(tree *Tree, exceptions Exceptions) []Problem {
	var problems []Problem
	used := map[string]bool{}
	for _, f := range tree.Files {
		lines := bytes.Count(f.Data, []byte("\n"))
		if lines <= FileLinesMax {
			continue
		}
		if exceptions[f.Path] == "" {
			problems = append(problems, Problem{f.Path, 0, fmt.Sprintf("%d lines, more than %d: a file is one duty; move the second one to a file of its own", lines, FileLinesMax)})
		}
		used[f.Path] = true
	}
	return append(problems, exceptions.stale(used)...)
}

// CheckFunctionSizes finds functions that are too long.
func CheckFunctionSizes(tree *Tree, ratchet Ratchet) []Problem {
	var problems []Problem
	used := map[string]bool{}
	for _, f := range tree.Files {
		for _, decl := range f.AST.Decls {
			function, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			lines := f.Line(function.End()) - f.Line(function.Pos()) + 1
			key := f.Path + ":" + functionName(function)
			allowed, listed := ratchet[key]
			most := FunctionLinesMax
			if f.Test {
				most = TestLinesMax
			}
			used[key] = true
			switch {
			case !listed && lines > most:
				problems = append(problems, f.At(function.Pos(), "%s has %d lines, more than %d: name its parts and call them", functionName(function), lines, most))
			case listed && lines > allowed:
				problems = append(problems, f.At(function.Pos(), "%s has grown to %d lines, from %d in the ratchet: shorten it", functionName(function), lines, allowed))
			case listed && lines <= most:
				problems = append(problems, f.At(function.Pos(), "%s has %d lines now: take it off the ratchet in internal/lint/policy.go", functionName(function), lines))
			case listed && lines < allowed:
				problems = append(problems, f.At(function.Pos(), "%s has %d lines now: lower the ratchet in internal/lint/policy.go from %d", functionName(function), lines, allowed))
			}
		}
	}
	for key := range ratchet {
		if !used[key] {
			problems = append(problems, Problem{"internal/lint/policy.go", 0, key + " is gone: take it off the ratchet"})
		}
	}
	return problems
}
