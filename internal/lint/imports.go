package lint

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Row is one line of the table of imports: a package, its floor, and the packages of ours that it may import.
type Row struct {
	Level   int
	Package string
	Imports []string // "*" is everything on a lower level
}

// ParseTable reads the table of imports: level, package, imports; comments begin with #.
func ParseTable(text string) (map[string]Row, error) {
	table := map[string]Row{}
	for number, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		level, err := strconv.Atoi(fields[0])
		if err != nil || len(fields) < 2 {
			return nil, fmt.Errorf("line %d of the table: %q is not a level and a package", number+1, line)
		}
		if _, twice := table[fields[1]]; twice {
			return nil, fmt.Errorf("line %d of the table: %s stands there twice", number+1, fields[1])
		}
		table[fields[1]] = Row{level, fields[1], fields[2:]}
	}
	return table, checkTable(table)
}

// checkTable makes sure that what the table allows points down, or between a parent and its child.
func checkTable(table map[string]Row) error {
	for _, row := range table {
		for _, name := range row.Imports {
			target, known := table[name]
			switch {
			case name == "*" || isParent(row.Package, name) || isParent(name, row.Package):
			case !known:
				return fmt.Errorf("the table lets %s import %s, which has no row", row.Package, name)
			case target.Level >= row.Level:
				return fmt.Errorf("the table lets %s (level %d) import %s (level %d): imports point down", row.Package, row.Level, name, target.Level)
			}
		}
	}
	return nil
}

func isParent(parent, child string) bool { return strings.HasPrefix(child, parent+"/") }

// allows says whether the product's code in one package may import another.
func allows(table map[string]Row, from, to string) bool {
	row := table[from]
	if isParent(to, from) || slices.Contains(row.Imports, to) {
		return true
	}
	target, known := table[to]
	return known && slices.Contains(row.Imports, "*") && target.Level < row.Level
}

// CheckImports compares the imports of our own packages with the table. Tests may also import what stands on their own
// level or below, and everything under internal.
func CheckImports(tree *Tree, table map[string]Row) []Problem {
	var problems []Problem
	seen := map[string]bool{}
	for _, f := range tree.Files {
		if f.Nested || f.Ignored {
			continue
		}
		row, known := table[f.Package]
		if !known {
			if !seen[f.Package] {
				problems = append(problems, f.At(f.AST.Package, "package %s is not in the table of imports: give it a row with its level in internal/lint/policy.go and ARCHITECTURE.md", f.Package))
			}
			seen[f.Package] = true
			continue
		}
		for _, spec := range f.AST.Imports {
			name, ours := strings.CutPrefix(importPath(spec.Path.Value), tree.Module+"/")
			if !ours || name == f.Package || allows(table, f.Package, name) {
				continue
			}
			if target, ok := table[name]; f.Test && (isParent("internal", name) || (ok && target.Level <= row.Level)) {
				continue
			}
			problems = append(problems, f.At(spec.Pos(), "%s must not import %s: it may import %s; declare an interface beside the consumer, or change the table and say why in docs/decisions.md",
				f.Package, name, orNothing(row.Imports)))
		}
	}
	return problems
}

func orNothing(names []string) string {
	if len(names) == 0 {
		return "nothing of ours"
	}
	return strings.Join(names, ", ")
}

func orNowhere(names []string) string {
	if len(names) == 0 {
		return "no package"
	}
	return strings.Join(names, ", ")
}

func importPath(quoted string) string {
	name, err := strconv.Unquote(quoted)
	if err != nil {
		return quoted
	}
	return name
}

// Homes says where a module, or a package of the standard library, may be imported: package folders, folder/* for what is
// below one, "tests" for every test.
type Homes map[string][]string

// CheckHomes makes sure that each third-party module, and each listed package of the standard library, is imported by its
// homes only.
func CheckHomes(tree *Tree, homes Homes) []Problem {
	var problems []Problem
	for _, f := range tree.Files {
		if f.Nested || f.Ignored {
			continue
		}
		for _, spec := range f.AST.Imports {
			name := importPath(spec.Path.Value)
			module, allowed := homes.of(name)
			first, _, _ := strings.Cut(name, "/")
			switch {
			case module == "" && strings.Contains(first, "."):
				problems = append(problems, f.At(spec.Pos(), "%s has no home: list it with its one home in internal/lint/policy.go, or do without it", name))
			case module != "" && !livesIn(f, allowed):
				problems = append(problems, f.At(spec.Pos(), "%s is at home in %s: let that package offer what %s needs", module, orNowhere(allowed), f.Package))
			}
		}
	}
	return problems
}

// of finds the entry that covers an import path: itself or a prefix of whole elements.
func (h Homes) of(name string) (entry string, allowed []string) {
	if allowed, ok := h[name]; ok {
		return name, allowed
	}
	for at := path.Dir(name); at != "." && strings.Contains(name, "."); at = path.Dir(at) {
		if allowed, ok := h[at]; ok {
			return at, allowed
		}
	}
	return "", nil
}

func livesIn(f *File, allowed []string) bool {
	for _, home := range allowed {
		below, wild := strings.CutSuffix(home, "/*")
		if home == f.Package || wild && isParent(below, f.Package) || home == "tests" && f.Test {
			return true
		}
	}
	return false
}

// CheckRequirements makes sure that every module that go.mod names as imported by us has a home.
func CheckRequirements(goMod string, homes Homes) []Problem {
	var problems []Problem
	for i, line := range strings.Split(goMod, "\n") {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		switch {
		case len(fields) > 0 && fields[0] == "replace":
			problems = append(problems, Problem{"go.mod", i + 1, "replace does not reach those who install the program: depend on a published version"})
		case len(fields) == 2 && strings.HasPrefix(fields[1], "v"):
			if entry, _ := homes.of(fields[0]); entry == "" {
				problems = append(problems, Problem{"go.mod", i + 1, fields[0] + " has no home: list it in internal/lint/policy.go, or do without it"})
			}
		}
	}
	return problems
}
