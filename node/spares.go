package node

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"polynode/shard/planner"
)

// keepPath is where a coordinator asks a node to keep slices beside those of its place.
const keepPath = "/node/v1/keep"

// Limits of what is kept.
const (
	keepMax      = 64 // slices that a coordinator may ask for
	keepRetry    = 15 * time.Second
	keepRetryOne = time.Second // after a fetch for a plan took the place of one of spares
)

// keepWish is what a coordinator would like to have on a node's disk.
type keepWish struct {
	Model string            `json:"model"`
	Holds []planner.Holding `json:"holds"`
}

func (w keepWish) equal(o keepWish) bool { return w.Model == o.Model && slices.Equal(w.Holds, o.Holds) }

// keeper brings slices to this node's disk that other nodes compute with, for the day when one of those dies. It is safe for concurrent use.
type keeper struct {
	node *Node
	wake chan struct{} // has room for one

	mu      sync.Mutex
	wish    keepWish
	trouble string // why it was not fulfilled
}

func newKeeper(n *Node) *keeper {
	k := &keeper{node: n, wake: make(chan struct{}, 1)}
	n.models.found = k.stir
	return k
}

// stir has the keeper look at what there is to do.
func (k *keeper) stir() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// want replaces the wish.
func (k *keeper) want(wish keepWish) {
	k.mu.Lock()
	same := k.wish.equal(wish)
	k.wish = wish
	k.mu.Unlock()
	if same {
		return // it is at it, or tries again by itself
	}
	k.stir()
}

func (k *keeper) wanted() keepWish {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.wish
}

// run fulfils wishes until ctx ends.
func (k *keeper) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := k.node.mend(ctx)
		if err == nil {
			err = k.fulfil(ctx, k.wanted())
		}
		k.say(ctx, err)
		var again <-chan time.Time
		switch {
		case err == nil:
		case errors.Is(err, context.Canceled):
			again = time.After(keepRetryOne)
		default:
			again = time.After(keepRetry)
		}
		select {
		case <-k.wake:
		case <-again:
		case <-ctx.Done():
		}
	}
}

// fulfil gets one slice after the other.
func (k *keeper) fulfil(ctx context.Context, wish keepWish) error {
	for _, holding := range wish.Holds {
		if err := k.node.obtain(ctx, wish.Model, holding, purpose{pace: k.node.pacer.spares, spare: true}); err != nil {
			return err
		}
		if !k.wanted().equal(wish) {
			return nil // there is another one
		}
	}
	return nil
}

// say remembers why a wish was not fulfilled, and logs it once.
func (k *keeper) say(ctx context.Context, err error) {
	text := ""
	if err != nil && ctx.Err() == nil && !errors.Is(err, context.Canceled) {
		text = err.Error()
	}
	k.mu.Lock()
	news := text != "" && text != k.trouble
	k.trouble = text
	k.mu.Unlock()
	if news {
		k.node.log.Warn("keep spare slices: tried again", "cause", err)
	}
}

// complaint is why the wish was not fulfilled, empty if it was or is being.
func (k *keeper) complaint() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.trouble
}

// serveKeep takes a wish from a coordinator. Only nodes of the cluster can call.
func (n *Node) serveKeep(w http.ResponseWriter, r *http.Request) {
	var wish keepWish
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, planMax)).Decode(&wish)
	if err != nil || len(wish.Holds) > keepMax {
		http.Error(w, "the list of slices cannot be read, or is too long", http.StatusBadRequest)
		return
	}
	n.keeper.want(wish)
	w.WriteHeader(http.StatusNoContent)
}
