package lint

import (
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

// source makes a repository in memory.
func source(files map[string]string) fs.FS {
	root := fstest.MapFS{"go.mod": {Data: []byte("module house\n\ngo 1.26.0\n")}}
	for name, text := range files {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return root
}

// expect loads a repository, applies a rule and compares the problems, each by the part of its text that is given.
func expect(t *testing.T, files map[string]string, rule func(root fs.FS, tree *Tree) []Problem, want ...string) {
	t.Helper()
	root := source(files)
	tree, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	problems := rule(root, tree)
	if len(problems) != len(want) {
		t.Fatalf("got %d problems, want %d: %v", len(problems), len(want), problems)
	}
	for i, p := range problems {
		if !strings.Contains(p.String(), want[i]) {
			t.Errorf("problem %d is %q, want one with %q", i, p, want[i])
		}
	}
}

func TestImports(t *testing.T) {
	table, err := ParseTable("3 node *\n2 engine engine/sample shard\n2 engine/sample\n2 engine/pipe\n1 shard\n0 kernels # maths\n9 internal/help kernels\n")
	if err != nil {
		t.Fatal(err)
	}
	rule := func(_ fs.FS, tree *Tree) []Problem { return CheckImports(tree, table) }
	file := func(imports ...string) string { return fmt.Sprintf("package p\n\nimport _ %q\n", "house/"+imports[0]) }
	for _, c := range []struct {
		name, path, text string
		want             []string
	}{
		{"listed", "engine/a.go", file("shard"), nil},
		{"child to parent", "engine/pipe/a.go", file("engine"), nil},
		{"parent to listed child", "engine/a.go", file("engine/sample"), nil},
		{"everything below", "node/a.go", file("kernels"), nil},
		{"not listed", "engine/a.go", file("kernels"), []string{"engine/a.go:3: engine must not import kernels: it may import engine/sample, shard"}},
		{"upwards", "shard/a.go", file("engine"), []string{"it may import nothing of ours"}},
		{"internal in the product", "engine/a.go", file("internal/help"), []string{"must not import internal/help"}},
		{"internal in a test", "engine/a_test.go", file("internal/help"), nil},
		{"a test downwards", "engine/a_test.go", file("kernels"), nil},
		{"a test upwards", "engine/a_test.go", file("node"), []string{"must not import node"}},
		{"a package without a row", "cellar/a.go", file("kernels"), []string{"package cellar is not in the table"}},
		{"a program for go run", "shard/make.go", "//go:build ignore\n\n" + file("node"), nil},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, map[string]string{c.path: c.text}, rule, c.want...) })
	}
	expect(t, map[string]string{"tools/go.mod": "module t\n", "tools/a.go": file("node")}, rule)
}

func TestTableRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"engine 2":              "not a level and a package",
		"1 a\n1 a":              "stands there twice",
		"1 a b":                 "has no row",
		"1 a b\n1 b":            "imports point down",
		"1 a b\n2 b":            "imports point down",
		"2 a c/d\n1 c\n2 c/d\n": "imports point down",
	} {
		if _, err := ParseTable(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("table %q: %v, want an error with %q", text, err, want)
		}
	}
}

func TestHomes(t *testing.T) {
	homes := Homes{"example.com/raft": {"cluster"}, "example.com/check": {"tests"}, "net/http": {"api", "cmd/*"}, "log": {}}
	rule := func(_ fs.FS, tree *Tree) []Problem { return CheckHomes(tree, homes) }
	file := func(name string) string { return fmt.Sprintf("package p\n\nimport _ %q\n", name) }
	expect(t, map[string]string{
		"api/a.go":            file("net/http"),
		"api/b.go":            file("net/http/httptest"), // a package of its own in the standard library
		"cluster/a.go":        file("example.com/raft/inner"),
		"cmd/x/a.go":          file("net/http"),
		"engine/a_test.go":    file("example.com/check"),
		"tools/go.mod":        "module t\n",
		"tools/a.go":          file("example.com/other"),
		"engine/standard.go":  file("strings"),
		"engine/neighbour.go": file("house/cluster"),
	}, rule)
	expect(t, map[string]string{
		"engine/a.go": file("net/http"),
		"engine/b.go": file("example.com/raft"),
		"engine/c.go": file("example.com/check"),
		"engine/d.go": file("example.com/rafting"),
		"engine/e.go": file("log"),
	}, rule, "net/http is at home in api, cmd/*", "example.com/raft is at home in cluster", "at home in tests", "example.com/rafting has no home", "log is at home in no package")

	mod := "module house\n\nrequire (\n\texample.com/raft v1.2.3\n\texample.com/new v0.1.0\n\texample.com/far v1.0.0 // indirect\n)\nreplace a => ../a\n"
	problems := CheckRequirements(mod, homes)
	if len(problems) != 2 || problems[0].Line != 5 || problems[1].Line != 8 {
		t.Errorf("got %v, want example.com/new and the replacement", problems)
	}
}

func TestPure(t *testing.T) {
	pure := Pure{"engine/scheduler*.go": nil, "kernels": {"os"}}
	rule := func(_ fs.FS, tree *Tree) []Problem { return CheckPure(tree, pure) }
	expect(t, map[string]string{
		"engine/scheduler_a.go": "package p\n\nimport _ \"strings\"\n",
		"engine/loop.go":        "package p\n\nimport _ \"time\"\n\nfunc f() { go f() }\n",
		"kernels/a.go":          "package p\n\nimport _ \"os\"\n",
		"kernels/a_test.go":     "package p\n\nimport _ \"time\"\n",
	}, rule)
	expect(t, map[string]string{
		"engine/scheduler.go": "package p\n\nimport _ \"time\"\n",
		"kernels/a.go":        "package p\n\nfunc f(c chan int) { go f(c); c <- 1 }\n",
	}, rule, "time in pure code", "channels", "channels", "channels")
	expect(t, map[string]string{"kernels/a.go": "package p\n"}, rule, "engine/scheduler*.go does not exist")
}

func TestPackageDocs(t *testing.T) {
	rule := func(_ fs.FS, tree *Tree) []Problem { return CheckPackageDocs(tree) }
	expect(t, map[string]string{
		"a/doc.go":      "// Package a does\n// things.\npackage a\n",
		"a/a.go":        "// A comment that stands alone.\n\npackage a\n",
		"cmd/x/main.go": "// Command x runs.\npackage main\n",
		"b/b_test.go":   "package b\n", // nothing but tests
		"c/c.go":        "// Package c is a single file.\npackage c\n",
	}, rule)
	expect(t, map[string]string{
		"a/a.go":   "package a\n",
		"b/doc.go": "// Package b is.\npackage b\n", "b/more.go": "// Package b is more.\npackage b\n",
		"c/c.go":        "// Package c is.\npackage c\n",
		"c/more.go":     "package c\n",
		"d/doc.go":      "// Copyright.\npackage d\n",
		"cmd/x/main.go": "// Package main is.\npackage main\n",
	}, rule, "a: no package doc", "second package doc", "move the package doc to doc.go", `must begin with "Command x "`, `must begin with "Package d "`)
}

func TestExportedDocs(t *testing.T) {
	rule := func(_ fs.FS, tree *Tree) []Problem { return CheckExportedDocs(tree) }
	expect(t, map[string]string{"a/a.go": `package a

// F does.
func F() {}

type hidden int

func (hidden) Method() {}

// T is.
type T struct{}

func (*T) String() string { return "" }

// The sizes.
const (
	A = 1
	B = 2
)

const (
	C = 3 // of something
)
`, "a/a_test.go": "package a\n\nfunc Help() {}\n", "cmd/x/main.go": "package main\n\nfunc F() {}\n"}, rule)
	expect(t, map[string]string{"a/a.go": "package a\n\nfunc F() {}\n\ntype T[K any] struct{}\n\nfunc (*T[K]) M() {}\n\nvar A, b = 1, 2\n"}, rule,
		"F has no doc", "type T has no doc", "T.M has no doc", "A has no doc")
}

func TestSizes(t *testing.T) {
	long := "package a\n\nfunc f() {\n" + strings.Repeat("\t_ = 1\n", FunctionLinesMax) + "}\n"
	files := map[string]string{"a/long.go": "package a\n" + strings.Repeat("\n", FileLinesMax), "a/function.go": long}
	expect(t, files, func(_ fs.FS, tree *Tree) []Problem { return CheckFileSizes(tree, nil) }, "a/long.go: 601 lines")
	expect(t, files, func(_ fs.FS, tree *Tree) []Problem {
		return CheckFileSizes(tree, Exceptions{"a/long.go": "a table", "a/gone.go": "a table"})
	}, "a/gone.go needs no exception")
	for allowed, want := range map[int]string{0: "f has 82 lines, more than 80", 81: "has grown to 82", 82: "", 83: "lower the ratchet"} {
		ratchet := Ratchet{"a/function.go:f": allowed}
		if allowed == 0 {
			ratchet = nil
		}
		var wants []string
		if want != "" {
			wants = append(wants, want)
		}
		expect(t, files, func(_ fs.FS, tree *Tree) []Problem { return CheckFunctionSizes(tree, ratchet) }, wants...)
	}
	short := map[string]string{"a/function.go": "package a\n\nfunc f() {}\n"}
	expect(t, short, func(_ fs.FS, tree *Tree) []Problem { return CheckFunctionSizes(tree, Ratchet{"a/function.go:f": 90}) }, "take it off the ratchet")
	expect(t, short, func(_ fs.FS, tree *Tree) []Problem { return CheckFunctionSizes(tree, Ratchet{"a/function.go:g": 90}) }, "is gone")
}

func TestCalls(t *testing.T) {
	rule := func(allowed Exceptions) func(fs.FS, *Tree) []Problem {
		return func(_ fs.FS, tree *Tree) []Problem { return CheckCalls(tree, bans, allowed) }
	}
	bad := map[string]string{
		"a/a.go":      "package a\n\nimport f \"fmt\"\n\nfunc (t *T) F() { f.Println(); panic(1) }\n",
		"a/a_test.go": "package a\n\nimport \"time\"\n\nfunc TestF() { time.Sleep(1) }\n",
	}
	expect(t, bad, rule(nil), "a/a.go:5: fmt.Println: use slog", "panic: return an error", "time.Sleep: wait for the event")
	expect(t, bad, rule(Exceptions{"a/a.go:T.F": "cannot be", "a/a_test.go:TestF": "shows it"}))
	expect(t, map[string]string{
		"cmd/x/a.go":  "package main\n\nimport (\n\t\"fmt\"\n\t\"os\"\n)\n\nfunc main() { fmt.Println(); os.Exit(1) }\n",
		"a/a_test.go": "package a\n\nimport (\n\t\"testing/synctest\"\n\t\"time\"\n)\n\nfunc F() { synctest.Test(nil, func() { time.Sleep(1) }); panic(1) }\n",
	}, rule(nil))
	expect(t, map[string]string{"a/a_test.go": "package a\n\nimport \"fmt\"\n\nfunc ExampleF() { fmt.Println() }\n"}, rule(nil))
	expect(t, nil, rule(Exceptions{"a/a.go:gone": "was there"}), "a/a.go:gone needs no exception")
}

func TestContexts(t *testing.T) {
	text := "package a\n\nimport \"context\"\n\ntype T struct{ ctx context.Context }\n\nfunc F(a int, c context.Context) {}\n\nfunc G(c context.Context, a int) {}\n"
	rule := func(allowed Exceptions) func(fs.FS, *Tree) []Problem {
		return func(_ fs.FS, tree *Tree) []Problem { return CheckContexts(tree, allowed) }
	}
	expect(t, map[string]string{"a/a.go": text}, rule(nil), "T keeps a context", "F: the context comes first")
	expect(t, map[string]string{"a/a.go": text}, rule(Exceptions{"a/a.go:T": "the interface demands it"}), "F: the context comes first")
}

func TestInits(t *testing.T) {
	rule := func(_ fs.FS, tree *Tree) []Problem { return CheckInits(tree, nil) }
	expect(t, map[string]string{"a/a.go": "package a\n\nfunc init() {}\n\ntype T int\n\nfunc (T) init() {}\n", "a/a_test.go": "package a\n\nfunc init() {}\n"}, rule, "a/a.go:3: init")
}

func TestErrorTexts(t *testing.T) {
	rule := func(_ fs.FS, tree *Tree) []Problem { return CheckErrorTexts(tree) }
	body := func(calls string) map[string]string {
		return map[string]string{"a/a.go": "package a\n\nimport (\n\t\"errors\"\n\t\"fmt\"\n)\n\nfunc f(err error) {\n" + calls + "\n}\n"}
	}
	expect(t, body("_ = errors.New(`read header: short`)\n_ = fmt.Errorf(\"SentencePiece model: %w\", err)\n_ = fmt.Errorf(\"%w: JSON\", err)\n"), rule)
	expect(t, body("_ = errors.New(`failed to read`)\n_ = fmt.Errorf(\"read: %v\", err)\n_ = errors.New(`Read it`)\n_ = errors.New(`read it.`)\n"), rule,
		"write verb object", "loses its cause", "begins with a capital", "ends like a sentence")
}

func TestTexts(t *testing.T) {
	files := map[string]string{
		"a/a.go":    "package a\n\n// TO" + "DO: later.\n",
		"README.md": "see (/wo" + "rk/main) and framework/x/ and $DIR/wo" + "rk/x\n",
		"a.sh":      "cat /ro" + "ot/file\n",
	}
	expect(t, files, func(_ fs.FS, tree *Tree) []Problem { return CheckUnfinished(tree) }, "a/a.go:3: TO")
	expect(t, files, func(_ fs.FS, tree *Tree) []Problem { return CheckPhrases(tree, phrases) }, "README.md:1", "a.sh:1")
	expect(t, map[string]string{"a.txt": "secret", "b.md": "a secret\n"}, func(_ fs.FS, tree *Tree) []Problem {
		return CheckPhrases(tree, []Phrase{{regexp.MustCompile("secret"), "do not say it"}})
	}, `b.md:1: "secret": do not say it`)
	if CheckChangelog("# Changes\n\n## Unreleased\n\n## 1.0\n") != nil || CheckChangelog("# Changes\n\n## 1.0\n\n## Unreleased\n") == nil {
		t.Error("CheckChangelog misjudges")
	}
}

func TestFormat(t *testing.T) {
	expect(t, map[string]string{"a/a.go": "package a\n\nfunc f() { }\n", "a/b.go": "package a\n"},
		func(_ fs.FS, tree *Tree) []Problem { return CheckFormat(tree) }, "gofmt -w a/a.go")
}

func TestLinks(t *testing.T) {
	expect(t, map[string]string{
		"README.md": "# Top\n[a](docs/a.md) [b](docs/a.md#the-quick-start) [c](#top) [d](https://example.com/x) [e](docs/no.md)\n" +
			"[f](docs/a.md#slow) ![g](pic.png \"title\")\n```\n[h](no.md)\n```\n",
		"docs/a.md": "## The quick, start\n[up](../README.md) [i](no.go)\n",
	}, CheckLinks, "README.md:2: link docs/no.md", "README.md:3: link docs/a.md#slow: docs/a.md has no such heading", "README.md:3: link pic.png", "docs/a.md:2: link no.go")
}

func TestPlaces(t *testing.T) {
	files := map[string]string{
		"a/a.go": "package a\n\ntype T struct{}\n\nfunc (t *T) M() {}\n\nfunc F() {}\n\ntype I interface{ N() }\n\nvar V = 1\n",
		"docs/walk.md": "`a/a.go` `a/a.go:F` `a/a.go:T.M` `a/a.go:T` `a/a.go:I.N` `a/a.go:V` `doc.go`\n" +
			"`a/b.go:F` `a/a.go:G`\n",
	}
	expect(t, files, func(_ fs.FS, tree *Tree) []Problem {
		problems, places := CheckPlaces(tree)
		if places["docs/walk.md"] != 8 {
			t.Errorf("%d places, want 8", places["docs/walk.md"])
		}
		return problems
	}, "a/b.go does not exist", "a/a.go declares no G")
}

func TestLoadReportsBrokenSource(t *testing.T) {
	if _, err := Load(source(map[string]string{"a/a.go": "package a\n\nfunc {\n"})); err == nil {
		t.Error("Load took a file that does not parse")
	}
	if _, err := Load(fstest.MapFS{}); err == nil {
		t.Error("Load took a folder without go.mod")
	}
}
