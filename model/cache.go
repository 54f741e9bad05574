package model

import (
	"fmt"
	"math"

	"polynode/kernels"
)

var negativeInfinity = float32(math.Inf(-1))

// Cache is a rank's KV: for each of its layers the keys and values of its heads in blocks of kernels.BlockTokens positions.
// Memory is touched, and so committed by the operating system, only as blocks are used.
type Cache struct {
	layers []kernels.KV
	blocks int
}

// CacheBlockBytes is the size of one block over all layers and heads of a share.
func CacheBlockBytes(c Config, share Share, format kernels.KVFormat) int {
	return share.Layers.Len() * kernels.KVBlockBytes(format, share.Heads.Len(), c.HeadDim())
}

// NewCache reserves so many blocks for a share.
func NewCache(c Config, share Share, format kernels.KVFormat, blocks int) (*Cache, error) {
	cache := &Cache{blocks: blocks}
	if share.Heads.Len() == 0 {
		return cache, nil
	}
	for range share.Layers.Len() {
		data := make([]byte, blocks*kernels.KVBlockBytes(format, share.Heads.Len(), c.HeadDim()))
		kv, err := kernels.NewKV(format, share.Heads.Len(), c.HeadDim(), data)
		if err != nil {
			return nil, err
		}
		cache.layers = append(cache.layers, kv)
	}
	return cache, nil
}

// Blocks is the number of blocks.
func (c *Cache) Blocks() int { return c.blocks }

// Copy copies one block of every layer: what a sequence that is about to write into a shared block needs.
func (c *Cache) Copy(target, source int32) error {
	if target < 0 || int(target) >= c.blocks || source < 0 || int(source) >= c.blocks {
		return fmt.Errorf("%w: copy block %d to %d of %d", ErrBatch, source, target, c.blocks)
	}
	for i := range c.layers {
		c.layers[i].CopyBlock(target, source)
	}
	return nil
}
