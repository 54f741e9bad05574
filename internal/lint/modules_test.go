package lint

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/modules.txt anew")

// TestModulesOfTheBinary compares the modules that the program links with the list that was last agreed on. A new line is a
// new supplier: look at it, then run go test ./internal/lint -update.
func TestModulesOfTheBinary(t *testing.T) {
	command := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./cmd/polynode")
	command.Dir = filepath.Join("..", "..")
	command.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := strings.Fields(string(out))
	slices.Sort(modules)
	modules = slices.Compact(modules)

	golden := filepath.Join("testdata", "modules.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(strings.Join(modules, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	agreed, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	known := strings.Fields(string(agreed))
	for _, module := range modules {
		if !slices.Contains(known, module) {
			t.Errorf("the program now links %s: do without it, or run go test ./internal/lint -update and say why in the commit", module)
		}
	}
	for _, module := range known {
		if !slices.Contains(modules, module) {
			t.Errorf("the program no longer links %s: run go test ./internal/lint -update", module)
		}
	}
}
