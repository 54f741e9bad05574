package lint

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// repository finds the root, above the package's folder.
var repository = sync.OnceValues(func() (fs.FS, error) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	return os.DirFS(root), err
})

var house = sync.OnceValues(func() (*Tree, error) {
	root, err := repository()
	if err != nil {
		return nil, err
	}
	return Load(root)
})

func load(t *testing.T) (fs.FS, *Tree) {
	t.Helper()
	root, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := house()
	if err != nil {
		t.Fatal(err)
	}
	return root, tree
}

func report(t *testing.T, problems []Problem) {
	t.Helper()
	for _, p := range problems {
		t.Error(p)
	}
}

// TestHouse applies every rule to this repository.
func TestHouse(t *testing.T) {
	root, tree := load(t)
	table, err := ParseTable(importTable)
	if err != nil {
		t.Fatal(err)
	}
	mod, err := fs.ReadFile(root, "go.mod")
	if err != nil {
		t.Fatal(err)
	}
	changelog, err := fs.ReadFile(root, "CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	places, _ := CheckPlaces(tree)
	for name, problems := range map[string][]Problem{
		"imports":       CheckImports(tree, table),
		"homes":         CheckHomes(tree, homes),
		"requirements":  CheckRequirements(string(mod), homes),
		"pure":          CheckPure(tree, pure),
		"package docs":  CheckPackageDocs(tree),
		"exported docs": CheckExportedDocs(tree),
		"file sizes":    CheckFileSizes(tree, filesLong),
		"functions":     CheckFunctionSizes(tree, functionsLong),
		"calls":         CheckCalls(tree, bans, callsAllowed),
		"contexts":      CheckContexts(tree, contextsKept),
		"inits":         CheckInits(tree, initsAllowed),
		"error texts":   CheckErrorTexts(tree),
		"unfinished":    CheckUnfinished(tree),
		"phrases":       CheckPhrases(tree, phrases),
		"format":        CheckFormat(tree),
		"links":         CheckLinks(root, tree),
		"places":        places,
		"changelog":     CheckChangelog(string(changelog)),
	} {
		t.Run(name, func(t *testing.T) { report(t, problems) })
	}
}

// TestHouseIsWhole guards against rules that pass because they see nothing.
func TestHouseIsWhole(t *testing.T) {
	_, tree := load(t)
	if tree.Module != "polynode" {
		t.Errorf("module %q, want polynode", tree.Module)
	}
	if n := len(tree.Packages()); n < 10 {
		t.Errorf("%d packages, want at least 10", n)
	}
	table, err := ParseTable(importTable)
	if err != nil {
		t.Fatal(err)
	}
	packages := map[string]bool{}
	for _, f := range tree.Files {
		packages[f.Package] = true
	}
	for name := range table {
		if !packages[name] {
			t.Errorf("the table of imports has a row for %s, which does not exist: remove it", name)
		}
	}
	if _, places := CheckPlaces(tree); places["docs/walk.md"] < 20 {
		t.Errorf("docs/walk.md names %d places as `file.go:Function`, want at least 20", places["docs/walk.md"])
	}
}

// TestArchitectureNamesEveryPackage holds the page against the table.
func TestArchitectureNamesEveryPackage(t *testing.T) {
	root, _ := load(t)
	page, err := fs.ReadFile(root, "ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	table, err := ParseTable(importTable)
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range table {
		floor := fmt.Sprintf("| %d | `%s`", row.Level, name)
		named := strings.Contains(string(page), floor) || strings.Contains(string(page), ", `"+name+"`")
		if !isParent("internal", name) && !named {
			t.Errorf("ARCHITECTURE.md has no row with %s: give it one with its duty", floor)
		}
	}
}
