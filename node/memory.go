package node

import (
	"errors"
	"fmt"
	"math"
	"os"

	"github.com/shirou/gopsutil/v4/mem"

	"polynode/configs"
	"polynode/model"
)

// ErrMemory reports that the model and its keys and values do not fit into this machine.
var ErrMemory = errors.New("not enough memory")

// Shares of memory that are not for keys and values.
const (
	reserveBytes = 256 << 20 // the process itself, HTTP, the operating system's slack
	freeShare    = 0.9       // of what is left, the part that may be taken
)

// availableMemory is how many bytes this process may still take: what the machine has free or can free, within the limit of
// its control group.
func availableMemory() (int64, error) {
	machine, err := mem.VirtualMemory()
	if err != nil {
		return 0, fmt.Errorf("measure memory: %w", err)
	}
	available := int64(min(machine.Available, math.MaxInt64))
	membership, _ := os.ReadFile("/proc/self/cgroup") // not there: not Linux, no groups
	if allowed, ok := cgroupAvailable("/sys/fs/cgroup", string(membership)); ok {
		available = min(available, allowed)
	}
	return available, nil
}

// kvBudget is what decides how many KV blocks there are.
type kvBudget struct {
	available  int64 // bytes this process may take
	weights    int64 // bytes of the model that should stay in memory
	buffers    int64 // bytes of one step
	blockBytes int64
	blocksMax  int // more than this is never needed
	blocksMin  int // with less not one full context fits
	wanted     configs.Bytes
}

// blocks is the number of blocks that the budget allows. With a size given it is that size, if the machine has it.
func (b kvBudget) blocks() (int, error) {
	free := b.available - b.weights - b.buffers - reserveBytes
	take := int64(float64(max(free, 0)) * freeShare)
	if b.wanted > 0 {
		if int64(b.wanted) > free {
			return 0, fmt.Errorf("%w: kv-memory is %s, but of %s available the model takes %s and the rest of the process %s; %s are missing",
				ErrMemory, b.wanted, configs.Bytes(b.available), configs.Bytes(b.weights), configs.Bytes(b.buffers+reserveBytes), configs.Bytes(int64(b.wanted)-free))
		}
		take = int64(b.wanted)
	}
	blocks := int(min(take/b.blockBytes, int64(b.blocksMax)))
	if blocks < b.blocksMin {
		need := int64(b.blocksMin) * b.blockBytes
		if b.wanted > 0 {
			return 0, fmt.Errorf("%w: kv-memory is %s, and one full context needs %s for keys and values", ErrMemory, b.wanted, configs.Bytes(need))
		}
		missing := int64(float64(need)/freeShare) - free
		return 0, fmt.Errorf("%w: one full context needs %s for keys and values, and %s are left of %s available after the model's %s; %s are missing: free them, let another machine join, or try --kv-format q8 or a smaller --quant at import",
			ErrMemory, configs.Bytes(need), configs.Bytes(take), configs.Bytes(b.available), configs.Bytes(b.weights), configs.Bytes(missing))
	}
	return blocks, nil
}

// stepBytes is about what the buffers of one step take.
func stepBytes(config model.Config, tokens int) int64 {
	row := 4 * (8*config.Embed + 3*config.Inner)
	return int64(tokens)*int64(row) + 2*32*4*int64(config.Vocab)
}
