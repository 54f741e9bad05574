package configs

import (
	"bytes"
	"embed"
	"fmt"
	"path"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed models/*.yaml
var presetFiles embed.FS

// Preset is the published shape of a PolyLM model.
type Preset struct {
	Name       string  `yaml:"name"`
	Layers     int     `yaml:"layers"`
	Heads      int     `yaml:"heads"`
	Embed      int     `yaml:"embed"`
	Inner      int     `yaml:"inner"`
	Vocab      int     `yaml:"vocab"`
	Positions  int     `yaml:"positions"`
	Activation string  `yaml:"activation"`
	Epsilon    float32 `yaml:"epsilon"`
	EOS        int32   `yaml:"eos"`
	Chat       string  `yaml:"chat"` // prompt format: plain, multialpaca or chat
}

// Presets lists the published models in order of name.
func Presets() ([]Preset, error) {
	entries, err := presetFiles.ReadDir("models")
	if err != nil {
		return nil, fmt.Errorf("list presets: %w", err)
	}
	var presets []Preset
	for _, entry := range entries {
		data, err := presetFiles.ReadFile(path.Join("models", entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("read preset: %w", err)
		}
		var p Preset
		decoder := yaml.NewDecoder(bytes.NewReader(data))
		decoder.KnownFields(true)
		if err := decoder.Decode(&p); err != nil {
			return nil, fmt.Errorf("parse preset %s: %w", entry.Name(), err)
		}
		presets = append(presets, p)
	}
	return presets, nil
}

// FindPreset returns the preset of that name; the error lists the names there are.
func FindPreset(name string) (Preset, error) {
	presets, err := Presets()
	if err != nil {
		return Preset{}, err
	}
	var names []string
	for _, p := range presets {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Preset{}, fmt.Errorf("%w: no preset %q, there are %s", ErrInvalid, name, strings.Join(names, ", "))
}
