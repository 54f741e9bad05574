package member

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"polynode/cluster/trust"
)

// The files of a state folder besides those of trust and raft.
const (
	fileKnown = "known.json" // what a node has to know before anybody tells it
	dirRaft   = "raft"
)

// known is what a node remembers of its cluster, to find it again.
type known struct {
	Cluster string          `json:"cluster"`
	Peers   []trust.Contact `json:"peers"`
}

// Exists reports whether a folder is that of a member of a cluster.
func Exists(dir string) bool {
	if _, err := os.Stat(dir); err != nil {
		return false
	}
	folder, err := trust.OpenFolder(dir)
	if err != nil {
		return true // Open says what is wrong with it
	}
	_, err = folder.Credentials()
	return !errors.Is(err, trust.ErrNone)
}

// readKnown returns trust.ErrNone where nothing was written yet.
func readKnown(dir string) (known, error) {
	path := filepath.Join(dir, fileKnown)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return known{}, fmt.Errorf("read %s: %w", path, trust.ErrNone)
	}
	var k known
	if err == nil {
		err = json.Unmarshal(data, &k)
	}
	if err != nil {
		return known{}, fmt.Errorf("read %s: %w; restore the folder, or remove it and join again with a new token", path, err)
	}
	return k, nil
}

// write replaces the file as a whole.
func (k known) write(dir string) error {
	data, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", fileKnown, err)
	}
	path := filepath.Join(dir, fileKnown)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
