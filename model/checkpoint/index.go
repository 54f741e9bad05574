package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// weightKind is one of the ways in which weights are published, by its file names.
type weightKind struct {
	format string // for findings
	single string
	index  string
	torch  bool
}

// weightKinds in the order of preference: safetensors cannot hold code and needs no strides.
var weightKinds = []weightKind{
	{"safetensors", "model.safetensors", "model.safetensors.index.json", false},
	{"torch zip pickle", "pytorch_model.bin", "pytorch_model.bin.index.json", true},
}

// weightFiles says which files of a folder to read.
type weightFiles struct {
	kind  weightKind
	names []string          // in order
	place map[string]string // tensor → file, from the index; nil for a single file
	notes []string
}

// findWeights chooses the files to read.
func findWeights(dir string) (*weightFiles, error) {
	var found *weightFiles
	for _, kind := range weightKinds {
		for _, name := range []string{kind.single, kind.index} {
			if _, err := os.Stat(filepath.Join(dir, name)); errors.Is(err, os.ErrNotExist) {
				continue
			} else if err != nil {
				return nil, inFile(name, err)
			}
			if found != nil {
				found.notes = append(found.notes, fmt.Sprintf("%s is there as well and not read", name))
				continue
			}
			found = &weightFiles{kind: kind, names: []string{name}}
		}
	}
	if found == nil {
		return nil, fmt.Errorf("%w: no model.safetensors, pytorch_model.bin or index of shards", ErrFolder)
	}
	if found.names[0] == found.kind.single {
		return found, nil
	}
	index := found.names[0]
	text, err := readSmall(dir, index, indexBytesMax)
	if err != nil {
		return nil, err
	}
	if found.place, found.names, err = parseIndex(text); err != nil {
		return nil, inFile(index, err)
	}
	return found, nil
}

// parseIndex reads an index of shards: which file has which tensor, and the files in order
// of their names. Errors wrap ErrIndex, ErrFormat or ErrLimit.
func parseIndex(text []byte) (place map[string]string, files []string, err error) {
	err = eachField(text, func(name string, value json.RawMessage) error {
		if name != "weight_map" {
			return nil // metadata: sizes that we count ourselves
		}
		place = make(map[string]string)
		return eachField(value, func(tensor string, value json.RawMessage) error {
			if tensor == "" || len(tensor) > nameBytesMax || len(place) >= tensorsMax {
				return fmt.Errorf("weight_map: %w: a name of %d bytes (1 to %d) or more than %d tensors",
					ErrLimit, len(tensor), nameBytesMax, tensorsMax)
			}
			var file string
			if err := json.Unmarshal(value, &file); err != nil {
				return fmt.Errorf("weight_map: tensor %s: %w: its file is not text", show(tensor), ErrIndex)
			}
			if err := checkFileName(file); err != nil {
				return fmt.Errorf("weight_map: tensor %s: %w", show(tensor), err)
			}
			place[tensor] = file
			return nil
		})
	})
	if err != nil {
		return nil, nil, err
	}
	if len(place) == 0 {
		return nil, nil, fmt.Errorf("weight_map: %w: no tensors", ErrIndex)
	}
	for _, file := range place {
		files = append(files, file)
	}
	slices.Sort(files)
	files = slices.Compact(files)
	if len(files) > shardsMax {
		return nil, nil, fmt.Errorf("weight_map: %w: %d files, at most %d", ErrLimit, len(files), shardsMax)
	}
	return place, files, nil
}

// checkFileName accepts plain names of files within the folder, on every system.
func checkFileName(name string) error {
	plain := name != "" && len(name) <= 255 && name[0] != '.' && filepath.IsLocal(name) &&
		strings.IndexFunc(name, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-+ ", r))
		}) < 0
	if !plain {
		return fmt.Errorf("%w: %s is not the plain name of a file in the folder", ErrIndex, show(name))
	}
	return nil
}
