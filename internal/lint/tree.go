package lint

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"
)

// Tree is the source of the repository.
type Tree struct {
	Module string  // path of the main module
	Files  []*File // Go files in the order of their paths, those of nested modules too
	Texts  []*Text // every text file in the same order, Go files included
}

// Text is one text file.
type Text struct {
	Path string // from the root, with forward slashes
	Data []byte
}

// File is one parsed Go file.
type File struct {
	*Text
	Package string // folder from the root: "engine/worker"
	Test    bool
	Nested  bool // in a module of its own
	Ignored bool // never built: a program for go run
	AST     *ast.File
	set     *token.FileSet
}

// Line is the line of a position.
func (f *File) Line(pos token.Pos) int { return f.set.Position(pos).Line }

// At makes a problem at a position of the file.
func (f *File) At(pos token.Pos, format string, args ...any) Problem {
	return Problem{f.Path, f.Line(pos), fmt.Sprintf(format, args...)}
}

// Problem is one broken rule. Its text says what to do instead.
type Problem struct {
	Path string
	Line int // 0 when the problem has no line
	Text string
}

// String is the problem as compilers print theirs.
func (p Problem) String() string {
	if p.Line == 0 {
		return p.Path + ": " + p.Text
	}
	return fmt.Sprintf("%s:%d: %s", p.Path, p.Line, p.Text)
}

// Exceptions says which things may break a rule, and why.
type Exceptions map[string]string

// stale lists the exceptions that nothing used.
func (e Exceptions) stale(used map[string]bool) []Problem {
	var problems []Problem
	for key := range e {
		if !used[key] {
			problems = append(problems, Problem{"internal/lint/policy.go", 0, key + " needs no exception any more: remove it"})
		}
	}
	sort.Slice(problems, func(i, j int) bool { return problems[i].Text < problems[j].Text })
	return problems
}

// Folders that hold no source of ours, by name, wherever they are.
var foldersSkipped = []string{".git", "node_modules", "testdata", "bin", "vendor"}

// Endings of text files. Other files are data.
var textEndings = []string{
	".go", ".s", ".md", ".mod", ".sh", ".py", ".js", ".mjs", ".ts", ".css", ".html", ".yaml", ".yml", ".json", ".toml",
}

const textBytesMax = 1 << 20

// Load reads and parses everything below root, which must have a go.mod.
func Load(root fs.FS) (*Tree, error) {
	tree := &Tree{}
	mod, err := fs.ReadFile(root, "go.mod")
	if err != nil {
		return nil, err
	}
	line, _, _ := strings.Cut(string(mod), "\n")
	tree.Module = strings.TrimSpace(strings.TrimPrefix(line, "module"))

	set := token.NewFileSet()
	err = fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if slices.Contains(foldersSkipped, entry.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		return tree.add(root, set, name, entry)
	})
	return tree, err
}

func (t *Tree) add(root fs.FS, set *token.FileSet, name string, entry fs.DirEntry) error {
	script := path.Dir(name) == ".ci"
	if !entry.Type().IsRegular() || !(slices.Contains(textEndings, path.Ext(name)) || script) {
		return nil
	}
	data, err := fs.ReadFile(root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a file that comes and goes, such as an editor's
	}
	if err != nil || len(data) > textBytesMax {
		return err
	}
	text := &Text{name, data}
	t.Texts = append(t.Texts, text)
	if path.Ext(name) != ".go" {
		return nil
	}
	parsed, err := parser.ParseFile(set, name, data, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	t.Files = append(t.Files, &File{
		Text: text, Package: path.Dir(name), Test: strings.HasSuffix(name, "_test.go"),
		Nested: nested(root, path.Dir(name)), Ignored: bytes.Contains(data, []byte("\n//go:build ignore\n")) ||
			bytes.HasPrefix(data, []byte("//go:build ignore\n")),
		AST: parsed, set: set,
	})
	return nil
}

// nested says whether a folder is in a module other than the root's, or hidden from the go command.
func nested(root fs.FS, folder string) bool {
	for ; folder != "."; folder = path.Dir(folder) {
		base := path.Base(folder)
		if base[0] == '_' || base[0] == '.' {
			return true
		}
		if _, err := fs.Stat(root, path.Join(folder, "go.mod")); err == nil {
			return true
		}
	}
	return false
}

// Product lists the files that the main module builds, tests left out.
func (t *Tree) Product() []*File {
	return slices.DeleteFunc(slices.Clone(t.Files), func(f *File) bool { return f.Test || f.Nested || f.Ignored })
}

// Packages lists the folders of the main module that hold more than tests, in order.
func (t *Tree) Packages() []string {
	var folders []string
	for _, f := range t.Product() {
		folders = append(folders, f.Package)
	}
	slices.Sort(folders)
	return slices.Compact(folders)
}

// functionName is F, or T.F for a method.
func functionName(f *ast.FuncDecl) string {
	if f.Recv == nil || len(f.Recv.List) == 0 {
		return f.Name.Name
	}
	kind := f.Recv.List[0].Type
	for {
		switch k := kind.(type) {
		case *ast.StarExpr:
			kind = k.X
		case *ast.IndexExpr:
			kind = k.X
		case *ast.IndexListExpr:
			kind = k.X
		case *ast.Ident:
			return k.Name + "." + f.Name.Name
		default:
			return f.Name.Name
		}
	}
}
