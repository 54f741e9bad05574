package node

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/shirou/gopsutil/v4/disk"

	"polynode/model"
	"polynode/model/store"
	"polynode/shard"
	"polynode/shard/planner"
)

// fileSlices lists the slices that this node once had, beside its models. What it says is checked before it is believed, and nothing is lost
// with it but the knowledge where the next plan would cost least.
const fileSlices = "slices.json"

// Limits of the list.
const (
	holdingsMax = 64               // of one model; the oldest are forgotten
	holdsStale  = 30 * time.Second // after which the disk is looked at again though nothing is known to have changed
)

// holdings knows which slices of which models lie on this node's disk. It is safe for concurrent use.
type holdings struct {
	path string

	mu    sync.Mutex
	noted map[string][]planner.Holding // by digest, as written down
	seen  map[string]held              // what was checked last
}

// held is what was found on the disk.
type held struct {
	holds []planner.Holding
	bytes int64 // of the model, whether or not they make a slice
	room  int64 // bytes that slices of it may take in all; 0 where that is not known
	at    time.Time
}

func newHoldings(data string) *holdings {
	h := &holdings{path: filepath.Join(data, fileSlices), noted: map[string][]planner.Holding{}, seen: map[string]held{}}
	if text, err := os.ReadFile(h.path); err != nil || json.Unmarshal(text, &h.noted) != nil || h.noted == nil {
		h.noted = map[string][]planner.Holding{}
	}
	return h
}

// note writes down that a slice was fetched.
func (h *holdings) note(digest string, holding planner.Holding) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.seen, digest)
	if slices.Contains(h.noted[digest], holding) {
		return nil
	}
	list := append(slices.Clone(h.noted[digest]), holding)
	h.noted[digest] = list[max(0, len(list)-holdingsMax):]
	text, err := json.MarshalIndent(h.noted, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(h.path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(h.path+".new", h.path)
}

// forget has the disk looked at again.
func (h *holdings) forget(digest string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.seen, digest)
}

// of is what is on the disk of a model.
func (h *holdings) of(digest string, open func(string) (*store.Model, func() error, error)) held {
	h.mu.Lock()
	found, known := h.seen[digest]
	noted := slices.Clone(h.noted[digest])
	h.mu.Unlock()
	if known && time.Since(found.at) < holdsStale {
		return found
	}
	found = held{at: time.Now()}
	if m, done, err := open(digest); err == nil {
		found.holds, found.bytes = onDisk(m, noted)
		_ = done() // it was only read
	}
	if free, err := freeDisk(filepath.Dir(h.path)); err == nil {
		found.room = max(1, found.bytes+int64((1-diskReserve)*float64(free))-diskReserveBytes)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen[digest] = found
	return found
}

// freeDisk is how many bytes have room on the disk of a folder.
func freeDisk(folder string) (int64, error) {
	use, err := disk.Usage(folder)
	if err != nil {
		return 0, err
	}
	return int64(min(use.Free, math.MaxInt64)), nil
}

// onDisk is which of some slices are there: the whole model, or those that were noted.
func onDisk(m *store.Model, noted []planner.Holding) (holds []planner.Holding, bytes int64) {
	present := m.Present()
	bytes = m.Numbering().Bytes(present)
	if present.Full() {
		return []planner.Holding{wholeHolding(model.Shape(m))}, bytes
	}
	for _, holding := range noted {
		pieces, err := model.PiecesOf(m.Config(), shareOf(m.Config(), holding))
		if err != nil {
			continue
		}
		if missing, err := m.Missing(pieces); err == nil && missing == 0 {
			holds = append(holds, holding)
		}
	}
	return holds, bytes
}

// wholeHolding is everything of a model.
func wholeHolding(s shard.Shape) planner.Holding {
	return planner.Holding{
		Layers: shard.Slice{Hi: s.Layers}, Heads: shard.Slice{Hi: s.Heads}, Inner: shard.Slice{Hi: s.Inner}, Vocab: shard.Slice{Hi: s.Vocab}, Embed: true,
	}
}

// shareOf is the share of a rank that has what a holding has.
func shareOf(c model.Config, h planner.Holding) model.Share {
	return model.Share{
		Layers: h.Layers, Heads: h.Heads, Inner: h.Inner, Vocab: h.Vocab,
		First: h.Layers.Lo == 0, Last: h.Layers.Hi == c.Layers,
	}
}

// obtain gets a slice of a model, from wherever it is, and writes down that it is here.
func (n *Node) obtain(ctx context.Context, digest string, holding planner.Holding, purpose purpose) error {
	_, err := n.models.get(ctx, digest, func(config model.Config) ([]model.Piece, error) {
		return model.PiecesOf(config, shareOf(config, holding))
	}, n.sources(), purpose)
	if err != nil {
		return err
	}
	if err := n.holdings.note(digest, holding); err != nil {
		n.log.Warn("write down which slices are here", "cause", err)
	}
	return nil
}

// peek opens a model as far as it is on this node, to look at it. done ends that.
func (s *models) peek(digest string) (m *store.Model, done func() error, err error) {
	nothing := func() error { return nil }
	m, err = s.here(digest, func(model.Config) ([]model.Piece, error) { return nil, nil })
	if m != nil || err != nil {
		return m, nothing, err
	}
	library, err := OpenLibrary(s.config.Data)
	if err != nil {
		return nil, nothing, err
	}
	m, err = library.Open(digest)
	if err = errors.Join(err, library.Close()); err != nil {
		return nil, nothing, err
	}
	return m, m.Close, nil
}
