package checkpoint

import (
	"path/filepath"
	"strings"
)

// chatHint tells the published models apart by the names of their repositories, of which
// the folder's name says more than what some training run left in config.json.
func chatHint(dir, configName string) string {
	for _, name := range []string{folderName(dir), lastElement(configName)} {
		name = strings.ToLower(name)
		switch {
		case strings.Contains(name, "multialpaca"):
			return "multialpaca"
		case strings.Contains(name, "chat"), strings.Contains(name, "assistant"):
			return "chat"
		}
	}
	return "plain"
}

// folderName is the name of the folder, or of the repository if the folder lies in a cache
// of the Hugging Face client: models--OWNER--NAME/snapshots/REVISION.
func folderName(dir string) string {
	if absolute, err := filepath.Abs(dir); err == nil {
		dir = absolute
	}
	parent, name := filepath.Split(dir)
	parent = filepath.Clean(parent)
	if filepath.Base(parent) == "snapshots" {
		return filepath.Base(filepath.Dir(parent))
	}
	return name
}

// lastElement is what follows the last slash of a path of either system.
func lastElement(path string) string {
	path = strings.TrimRight(path, `/\`)
	return path[strings.LastIndexAny(path, `/\`)+1:]
}
