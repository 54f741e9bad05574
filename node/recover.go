package node

import (
	"log/slog"
	"path/filepath"

	"polynode/cluster/member"
	"polynode/configs"
)

// Remains is what a node that is down remembers of its cluster, under this roof for the verbs.
type Remains = member.Remains

// Examine reads what the node of a data folder remembers. The node has to be down.
func Examine(config configs.Config) (Remains, error) { return member.Examine(stateDir(config)) }

// Recover makes the node of a data folder, which is down, the only one of its cluster, after the majority of those that vote is lost for good.
func Recover(config configs.Config, log *slog.Logger) (Remains, error) {
	return member.Recover(stateDir(config), log)
}

func stateDir(config configs.Config) string { return filepath.Join(config.Data, "state") }
