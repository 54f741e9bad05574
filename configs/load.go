package configs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

// FileMax bounds a settings file.
const FileMax = 1 << 20

// Load fills a default Config from the YAML file (if path is not empty), then from the environment, then from the
// flags that were given, and validates the result. lookup is os.LookupEnv or a test's. All mistakes of all
// sources come back together.
func Load(path string, lookup func(string) (string, bool), flags map[string]string) (Config, error) {
	c := Default()
	settings := c.Settings()
	var errs []error
	if path != "" {
		errs = append(errs, readFile(path, settings)...)
	}
	for _, s := range settings {
		if text, ok := lookup(s.Env()); ok {
			errs = append(errs, s.set(text, "environment "+s.Env()))
		}
	}
	for _, s := range settings {
		if text, ok := flags[s.Name]; ok {
			errs = append(errs, s.set(text, "flag --"+s.Name))
		}
	}
	errs = append(errs, c.Validate())
	return c, errors.Join(errs...)
}

func (s Setting) set(text, source string) error {
	if err := s.Value.Set(text); err != nil {
		return fmt.Errorf("%w: %s: %s: %w", ErrInvalid, source, s.Name, err)
	}
	return nil
}

// readFile sets what the file says. Keys are setting names; a list may be a YAML list.
func readFile(path string, settings []Setting) []error {
	file, err := os.Open(path)
	if err != nil {
		return []error{fmt.Errorf("open settings: %w", err)}
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, FileMax+1))
	if err != nil {
		return []error{fmt.Errorf("read settings %s: %w", path, err)}
	}
	if len(data) > FileMax {
		return []error{fmt.Errorf("read settings %s: %w: larger than %d bytes", path, ErrInvalid, FileMax)}
	}
	return applyYAML(path, data, settings)
}

func applyYAML(path string, data []byte, settings []Setting) []error {
	var nodes map[string]yaml.Node
	if err := yaml.Unmarshal(data, &nodes); err != nil {
		return []error{fmt.Errorf("%w: file %s: %w", ErrInvalid, path, err)}
	}
	var errs []error
	for _, s := range settings {
		node, ok := nodes[s.Name]
		if !ok {
			continue
		}
		delete(nodes, s.Name)
		source := fmt.Sprintf("file %s line %d", path, node.Line)
		text, err := scalar(&node)
		if err != nil {
			errs = append(errs, fmt.Errorf("%w: %s: %s: %w", ErrInvalid, source, s.Name, err))
			continue
		}
		errs = append(errs, s.set(text, source))
	}
	for key, node := range nodes {
		errs = append(errs, fmt.Errorf("%w: file %s line %d: unknown key %q", ErrInvalid, path, node.Line, key))
	}
	return errs
}

// scalar is a YAML scalar as written, or a list of them with commas.
func scalar(node *yaml.Node) (string, error) {
	switch node.Kind {
	case yaml.ScalarNode:
		return node.Value, nil
	case yaml.SequenceNode:
		var items []string
		for _, item := range node.Content {
			if item.Kind != yaml.ScalarNode {
				return "", errors.New("is not a list of plain values")
			}
			items = append(items, item.Value)
		}
		return strings.Join(items, ","), nil
	}
	return "", errors.New("is neither a plain value nor a list")
}
