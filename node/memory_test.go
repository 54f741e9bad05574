package node

import (
	"errors"
	"strings"
	"testing"

	"polynode/configs"
)

func TestBlocksFollowTheBudget(t *testing.T) {
	const gib = 1 << 30
	base := kvBudget{available: 16 * gib, weights: 8 * gib, buffers: gib / 4, blockBytes: 13 << 20, blocksMax: 4096, blocksMin: 128}
	blocks, err := base.blocks()
	if err != nil {
		t.Fatal(err)
	}
	if used := int64(blocks)*base.blockBytes + base.weights + base.buffers + reserveBytes; used > base.available {
		t.Errorf("%d blocks overcommit by %d bytes", blocks, used-base.available)
	}
	small := base
	small.available = 9 * gib
	if _, err := small.blocks(); !errors.Is(err, ErrMemory) || !strings.Contains(err.Error(), "kv-format q8") {
		t.Errorf("too little memory: %v", err)
	}
	mended := small
	for range 2 { // what is said to be missing is enough, also where not even the weights have room
		_, err := mended.blocks()
		_, rest, _ := strings.Cut(err.Error(), "model's 8.0 GiB; ")
		text, _, _ := strings.Cut(rest, " are missing")
		missing, parsed := configs.ParseBytes(strings.ReplaceAll(text, " ", ""))
		if parsed != nil {
			t.Fatalf("%v: %v", err, parsed)
		}
		exact := mended
		exact.available += int64(missing) * 102 / 100 // it is said in two digits
		if _, err := exact.blocks(); err != nil {
			t.Errorf("with the %s that were missing: %v", missing, err)
		}
		mended.available = 6 * gib
	}
	wanted := base
	wanted.wanted = 2 * gib
	if blocks, err := wanted.blocks(); err != nil || blocks != 2*gib/(13<<20) {
		t.Errorf("2 GiB wanted: %d blocks, %v", blocks, err)
	}
	wanted.wanted = 20 * gib
	if _, err := wanted.blocks(); !errors.Is(err, ErrMemory) || !strings.Contains(err.Error(), "missing") {
		t.Errorf("more wanted than there is: %v", err)
	}
	wanted.wanted = 1 << 20
	if _, err := wanted.blocks(); !errors.Is(err, ErrMemory) || !strings.Contains(err.Error(), "kv-memory is 1.0 MiB") {
		t.Errorf("less wanted than one context needs: %v", err)
	}
	tiny := base
	tiny.blockBytes, tiny.blocksMax = 1024, 50
	tiny.blocksMin = 10
	if blocks, err := tiny.blocks(); err != nil || blocks != 50 {
		t.Errorf("a small model takes %d blocks, %v; more than 50 are never needed", blocks, err)
	}
}

func TestAvailableMemory(t *testing.T) {
	n, err := availableMemory()
	if err != nil || n < 1<<20 {
		t.Errorf("available memory is %d, %v", n, err)
	}
}
