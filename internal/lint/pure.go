package lint

import (
	"go/ast"
	"path"
	"slices"
)

// Pure names code that has no goroutine, clock or I/O: input in, result out. Keys are package folders, or patterns of files
// in one; values are the imports that are fine all the same.
type Pure map[string][]string

// Imports that pure code cannot have use for.
var importsImpure = []string{
	"context", "io/fs", "log/slog", "math/rand", "net", "net/http", "os", "os/exec", "os/signal", "path/filepath",
	"sync", "sync/atomic", "syscall", "time", "crypto/rand", "runtime",
}

// CheckPure finds goroutines, channels and impure imports in pure code.
func CheckPure(tree *Tree, pure Pure) []Problem {
	var problems []Problem
	used := map[string]bool{}
	for _, f := range tree.Product() {
		for pattern, fine := range pure {
			file, err := path.Match(pattern, f.Path)
			if err != nil || !file && pattern != f.Package {
				continue
			}
			used[pattern] = true
			problems = append(problems, checkPureFile(f, fine)...)
		}
	}
	for pattern := range pure {
		if !used[pattern] {
			problems = append(problems, Problem{"internal/lint/policy.go", 0, "pure code " + pattern + " does not exist: remove it or name where it went"})
		}
	}
	return problems
}

func checkPureFile(f *File, fine []string) []Problem {
	var problems []Problem
	for _, spec := range f.AST.Imports {
		name := importPath(spec.Path.Value)
		if slices.Contains(importsImpure, name) && !slices.Contains(fine, name) {
			problems = append(problems, f.At(spec.Pos(), "%s in pure code: let the caller pass what it gives", name))
		}
	}
	ast.Inspect(f.AST, func(n ast.Node) bool {
		switch n.(type) {
		case *ast.GoStmt, *ast.ChanType, *ast.SelectStmt, *ast.SendStmt:
			problems = append(problems, f.At(n.Pos(), "goroutines and channels in pure code: let the caller have them"))
		}
		return true
	})
	return problems
}
