package lint

import (
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Ban forbids one function of a package, such as "fmt.Println" or "panic". Homes are the package folders where it is fine.
type Ban struct {
	Call    string   // import path and name, with a final * for any name that begins so
	Where   Scope    // which files it concerns
	Homes   []string // folder or folder/*
	Beside  string   // an import that makes it fine in a file
	Instead string   // what to do
}

// Scope is a kind of file.
type Scope int

// The kinds of files that a ban may concern.
const (
	Everywhere Scope = iota
	InProduct
	InTests
)

// CheckCalls finds uses of banned functions. Exceptions are keyed by file:function.
func CheckCalls(tree *Tree, bans []Ban, exceptions Exceptions) []Problem {
	var problems []Problem
	used := map[string]bool{}
	for _, f := range tree.Files {
		if f.Nested || f.Ignored {
			continue
		}
		names := importNames(f.AST)
		for _, decl := range f.AST.Decls {
			key := f.Path
			if function, ok := decl.(*ast.FuncDecl); ok {
				if f.Test && strings.HasPrefix(function.Name.Name, "Example") {
					continue // an example shows its output by printing it
				}
				key += ":" + functionName(function)
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				name := usedName(n, names)
				i := slices.IndexFunc(bans, func(b Ban) bool { return b.concerns(f, name) })
				switch {
				case name == "" || i < 0:
				case exceptions[key] != "":
					used[key] = true
				default:
					problems = append(problems, f.At(n.Pos(), "%s: %s", name, bans[i].Instead))
				}
				return true
			})
		}
	}
	return append(problems, exceptions.stale(used)...)
}

func (b Ban) concerns(f *File, name string) bool {
	if b.Where == InProduct && f.Test || b.Where == InTests && !f.Test {
		return false
	}
	if b.Beside != "" && slices.ContainsFunc(f.AST.Imports, func(s *ast.ImportSpec) bool { return importPath(s.Path.Value) == b.Beside }) {
		return false
	}
	stem, wild := strings.CutSuffix(b.Call, "*")
	return (name == b.Call || wild && strings.HasPrefix(name, stem)) && !livesIn(f, b.Homes)
}

// importNames maps the names that a file gives its imports to their paths.
func importNames(file *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range file.Imports {
		full := importPath(spec.Path.Value)
		local := path.Base(full)
		if version := local; len(version) > 1 && version[0] == 'v' && strings.Trim(version[1:], "0123456789") == "" {
			local = path.Base(path.Dir(full))
		}
		if spec.Name != nil {
			local = spec.Name.Name
		}
		names[local] = full
	}
	return names
}

// usedName is the full name of a package's function where it is called or taken, or of a called builtin.
func usedName(n ast.Node, names map[string]string) string {
	switch e := n.(type) {
	case *ast.SelectorExpr:
		if x, ok := e.X.(*ast.Ident); ok && names[x.Name] != "" {
			return names[x.Name] + "." + e.Sel.Name
		}
	case *ast.CallExpr:
		if x, ok := e.Fun.(*ast.Ident); ok {
			return x.Name
		}
	}
	return ""
}

// CheckContexts makes sure that contexts are passed, first, and never kept.
func CheckContexts(tree *Tree, exceptions Exceptions) []Problem {
	var problems []Problem
	used := map[string]bool{}
	for _, f := range tree.Product() {
		names := importNames(f.AST)
		isContext := func(e ast.Expr) bool { return usedName(e, names) == "context.Context" }
		ast.Inspect(f.AST, func(n ast.Node) bool {
			switch d := n.(type) {
			case *ast.TypeSpec:
				s, ok := d.Type.(*ast.StructType)
				if !ok {
					return true
				}
				for _, field := range s.Fields.List {
					key := f.Path + ":" + d.Name.Name
					if isContext(field.Type) {
						used[key] = true
						if exceptions[key] == "" {
							problems = append(problems, f.At(field.Pos(), "%s keeps a context: pass it to the calls that need it", d.Name.Name))
						}
					}
				}
			case *ast.FuncDecl:
				at := 0
				for _, field := range d.Type.Params.List {
					if isContext(field.Type) && at > 0 {
						problems = append(problems, f.At(field.Pos(), "%s: the context comes first", functionName(d)))
					}
					at += max(1, len(field.Names))
				}
			}
			return true
		})
	}
	return append(problems, exceptions.stale(used)...)
}

// CheckInits finds init functions: nothing may happen before main says so.
func CheckInits(tree *Tree, exceptions Exceptions) []Problem {
	var problems []Problem
	used := map[string]bool{}
	for _, f := range tree.Product() {
		for _, decl := range f.AST.Decls {
			function, ok := decl.(*ast.FuncDecl)
			if !ok || function.Recv != nil || function.Name.Name != "init" {
				continue
			}
			used[f.Path] = true
			if exceptions[f.Path] == "" {
				problems = append(problems, f.At(function.Pos(), "init: make a constructor or a table in a variable; no registries"))
			}
		}
	}
	return append(problems, exceptions.stale(used)...)
}

// CheckErrorTexts reads the texts of new errors: "verb object: cause", in lower case, never "failed to".
func CheckErrorTexts(tree *Tree) []Problem {
	var problems []Problem
	for _, f := range tree.Product() {
		names := importNames(f.AST)
		ast.Inspect(f.AST, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			maker := usedName(call.Fun, names)
			literal, ok := call.Args[0].(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING || maker != "errors.New" && maker != "fmt.Errorf" {
				return true
			}
			problems = append(problems, checkErrorText(f, call, importPath(literal.Value))...)
			return true
		})
	}
	return problems
}

// capitalised matches a first word that is a word, not a name such as SentencePiece or JSON.
var capitalised = regexp.MustCompile(`^[A-Z][a-z]*(\s|:|,|$)`)

func checkErrorText(f *File, call *ast.CallExpr, text string) []Problem {
	var problems []Problem
	for _, bad := range []string{"failed to", "unable to", "could not", "error "} {
		if strings.HasPrefix(strings.ToLower(text), bad) {
			problems = append(problems, f.At(call.Pos(), "error text %q: write verb object: cause, such as \"read manifest: …\"", text))
		}
	}
	if capitalised.MatchString(text) {
		problems = append(problems, f.At(call.Pos(), "error text %q begins with a capital", text))
	}
	if strings.HasSuffix(text, ".") || strings.HasSuffix(text, "!") || strings.HasSuffix(text, "\n") {
		problems = append(problems, f.At(call.Pos(), "error text %q ends like a sentence", text))
	}
	for _, arg := range call.Args[1:] {
		if x, ok := arg.(*ast.Ident); ok && x.Name == "err" && !strings.Contains(text, "%w") {
			problems = append(problems, f.At(call.Pos(), "error text %q loses its cause: use %%w", text))
		}
	}
	return problems
}
