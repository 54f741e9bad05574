package lint

import (
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
)

// CheckPackageDocs makes sure that every package has exactly one doc, in doc.go (main.go of a command, or the only file), beginning with
// the words that godoc expects.
func CheckPackageDocs(tree *Tree) []Problem {
	var problems []Problem
	for _, folder := range tree.Packages() {
		var docs []*File
		files := 0
		for _, f := range tree.Product() {
			if f.Package == folder {
				files++
			}
			if f.Package == folder && f.AST.Doc.Text() != "" {
				docs = append(docs, f)
			}
		}
		switch {
		case len(docs) == 0:
			problems = append(problems, Problem{folder, 0, "no package doc: add doc.go with the package's duty, its place in the walk of a token, its invariants and its rules for goroutines"})
		case len(docs) > 1:
			problems = append(problems, docs[1].At(docs[1].AST.Package, "second package doc beside %s: keep one", docs[0].Path))
		default:
			problems = append(problems, checkPackageDoc(docs[0], files == 1)...)
		}
	}
	return problems
}

func checkPackageDoc(f *File, alone bool) []Problem {
	var problems []Problem
	want, file := "Package "+f.AST.Name.Name+" ", "doc.go"
	if f.AST.Name.Name == "main" {
		want, file = "Command "+path.Base(f.Package)+" ", "main.go"
	}
	text := strings.ReplaceAll(f.AST.Doc.Text(), "\n", " ")
	if !strings.HasPrefix(text, want) {
		problems = append(problems, f.At(f.AST.Doc.Pos(), "the package doc must begin with %q", want))
	}
	if base := path.Base(f.Path); base != "doc.go" && base != file && !alone {
		problems = append(problems, f.At(f.AST.Doc.Pos(), "move the package doc to %s", file))
	}
	return problems
}

// Methods whose meaning is fixed by the interfaces of the standard library.
var methodsKnown = []string{"String", "Error", "Unwrap", "Is", "Len", "Less", "Swap", "Push", "Pop", "MarshalJSON", "UnmarshalJSON"}

// CheckExportedDocs makes sure that every exported name of the product has a doc comment.
func CheckExportedDocs(tree *Tree) []Problem {
	var problems []Problem
	for _, f := range tree.Product() {
		if f.AST.Name.Name == "main" {
			continue
		}
		for _, decl := range f.AST.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if needsDoc(d) {
					problems = append(problems, f.At(d.Pos(), "%s has no doc comment: say what it promises, with shapes, units, errors and goroutine safety where they matter", functionName(d)))
				}
			case *ast.GenDecl:
				problems = append(problems, checkGroup(f, d)...)
			}
		}
	}
	return problems
}

func needsDoc(d *ast.FuncDecl) bool {
	owner, _, method := strings.Cut(functionName(d), ".")
	if d.Doc.Text() != "" || !d.Name.IsExported() || !ast.IsExported(owner) {
		return false
	}
	return !method || !slices.Contains(methodsKnown, d.Name.Name)
}

func checkGroup(f *File, d *ast.GenDecl) []Problem {
	var problems []Problem
	if d.Tok == token.IMPORT || d.Doc.Text() != "" {
		return nil
	}
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() && s.Doc.Text() == "" {
				problems = append(problems, f.At(s.Pos(), "type %s has no doc comment", s.Name.Name))
			}
		case *ast.ValueSpec:
			for _, name := range s.Names {
				if name.IsExported() && s.Doc.Text() == "" && s.Comment.Text() == "" {
					problems = append(problems, f.At(s.Pos(), "%s has no doc comment, nor has its group", name.Name))
				}
			}
		}
	}
	return problems
}
