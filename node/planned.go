package node

import (
	"context"
	"log/slog"

	"polynode/configs"
	"polynode/shard/planner"
)

// StartPlanned is Start with a planner of the caller's, for tests of whole machines: they want plans of a certain shape, whatever would be
// fastest. The cluster takes the planner of the node that coordinates. The node leaves the processors to its neighbours on the same machine whenever
// it waits: such tests put more nodes on a machine than it has cores, and nodes that wait without sleeping would keep each other from working.
func StartPlanned(ctx context.Context, config configs.Config, log *slog.Logger, plan func(planner.Problem) (planner.Report, error)) (*Node, error) {
	inProcess.Add(1) // as if one more shared this process
	return startWith(ctx, config, log, newModels(config), plan)
}
