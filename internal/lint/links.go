package lint

import (
	"fmt"
	"go/ast"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"unicode"
)

var (
	markdownLink = regexp.MustCompile(`\[[^\]\n]*\]\(([^)\s]+)[^)\n]*\)`)
	codePlace    = regexp.MustCompile("`([\\w./-]+\\.go)(?::([\\w.]+))?`")
)

// CheckLinks makes sure that every relative link of the Markdown files leads to a file, and to a heading where it names
// one.
func CheckLinks(root fs.FS, tree *Tree) []Problem {
	var problems []Problem
	for _, text := range tree.Texts {
		if path.Ext(text.Path) != ".md" {
			continue
		}
		eachLine(text, func(number int, line string) {
			for _, match := range markdownLink.FindAllStringSubmatch(line, -1) {
				if reason := checkLink(root, tree, text.Path, match[1]); reason != "" {
					problems = append(problems, Problem{text.Path, number, fmt.Sprintf("link %s: %s", match[1], reason)})
				}
			}
		})
	}
	return problems
}

// eachLine visits the lines of a Markdown file outside fenced code.
func eachLine(text *Text, visit func(number int, line string)) {
	fenced := false
	for i, line := range strings.Split(string(text.Data), "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
		} else if !fenced {
			visit(i+1, line)
		}
	}
}

// checkLink says what is wrong with a link, nothing if it is good or leads elsewhere.
func checkLink(root fs.FS, tree *Tree, from, target string) string {
	if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
		return ""
	}
	file, heading, _ := strings.Cut(target, "#")
	full := from
	if file != "" {
		full = path.Join(path.Dir(from), file)
	}
	if _, err := fs.Stat(root, full); err != nil {
		return "no such file: correct the path or remove the link"
	}
	if heading == "" {
		return ""
	}
	for _, text := range tree.Texts {
		if text.Path == full && headings(text)[heading] {
			return ""
		}
	}
	return full + " has no such heading"
}

// headings lists the anchors of a Markdown file as they are commonly made: lower case, spaces as hyphens, letters and digits.
func headings(text *Text) map[string]bool {
	anchors := map[string]bool{}
	eachLine(text, func(_ int, line string) {
		title := strings.TrimLeft(line, "#")
		if title == line || !strings.HasPrefix(title, " ") {
			return
		}
		anchor := strings.Map(func(r rune) rune {
			switch {
			case r == ' ' || r == '-':
				return '-'
			case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(title))
		anchors[anchor] = true
	})
	return anchors
}

// CheckPlaces makes sure that every `folder/file.go` and `folder/file.go:Name` in the Markdown files exists. Names are
// functions, methods as Type.Method, types, variables and constants. It reports how many places each file names.
func CheckPlaces(tree *Tree) (problems []Problem, places map[string]int) {
	declared := map[string]map[string]bool{}
	for _, f := range tree.Files {
		declared[f.Path] = declarations(f)
	}
	places = map[string]int{}
	for _, text := range tree.Texts {
		if path.Ext(text.Path) != ".md" {
			continue
		}
		eachLine(text, func(number int, line string) {
			for _, match := range codePlace.FindAllStringSubmatch(line, -1) {
				file, name := match[1], match[2]
				names, known := declared[file]
				switch {
				case !strings.Contains(file, "/") || strings.HasPrefix(file, "_"):
					continue // a kind of file, such as doc.go
				case !known:
					problems = append(problems, Problem{text.Path, number, file + " does not exist: name the file that took over its duty"})
				case name != "" && !names[name]:
					problems = append(problems, Problem{text.Path, number, file + " declares no " + name + ": name what does this now"})
				}
				places[text.Path]++
			}
		})
	}
	return problems, places
}

func declarations(f *File) map[string]bool {
	names := map[string]bool{}
	for _, decl := range f.AST.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			names[functionName(d)] = true
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					names[s.Name.Name] = true
					if contract, ok := s.Type.(*ast.InterfaceType); ok {
						for _, method := range contract.Methods.List {
							for _, name := range method.Names {
								names[s.Name.Name+"."+name.Name] = true
							}
						}
					}
				case *ast.ValueSpec:
					for _, name := range s.Names {
						names[name.Name] = true
					}
				}
			}
		}
	}
	return names
}
