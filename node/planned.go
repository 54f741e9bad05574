package node

import (
	"context"
	"log/slog"

	"polynode/configs"
	"polynode/shard/planner"
)

// StartPlanned is Start with a planner of the caller's, for tests of whole machines: they want plans of a certain shape, whatever would be
// fastest. The cluster takes the planner of the node that coordinates.
func StartPlanned(ctx context.Context, config configs.Config, log *slog.Logger, plan func(planner.Problem) (planner.Report, error)) (*Node, error) {
	return startWith(ctx, config, log, newModels(config), plan)
}
