package lint

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"strings"
)

// Phrase is something that no text file may say.
type Phrase struct {
	Pattern *regexp.Regexp
	Instead string
}

// CheckPhrases reads every text file line by line.
func CheckPhrases(tree *Tree, phrases []Phrase) []Problem {
	var problems []Problem
	for _, text := range tree.Texts {
		for i, line := range bytes.Split(text.Data, []byte("\n")) {
			for _, phrase := range phrases {
				if found := phrase.Pattern.Find(line); found != nil {
					problems = append(problems, Problem{text.Path, i + 1, fmt.Sprintf("%q: %s", bytes.TrimSpace(found), phrase.Instead)})
				}
			}
		}
	}
	return problems
}

// CheckUnfinished finds comments that promise work instead of doing it.
func CheckUnfinished(tree *Tree) []Problem {
	var problems []Problem
	mark := regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b`)
	for _, f := range tree.Files {
		for _, group := range f.AST.Comments {
			for _, comment := range group.List {
				if found := mark.FindString(comment.Text); found != "" && path.Dir(f.Path) != "internal/lint" {
					problems = append(problems, f.At(comment.Pos(), "%s: do it now, or write down in docs/ what is missing and why", found))
				}
			}
		}
	}
	return problems
}

// CheckChangelog makes sure that the changelog opens with what the next release changes.
func CheckChangelog(text string) []Problem {
	for _, line := range strings.Split(text, "\n") {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			if strings.HasPrefix(heading, "Unreleased") {
				return nil
			}
			break
		}
	}
	return []Problem{{"CHANGELOG.md", 0, "the first section must be \"## Unreleased\""}}
}
