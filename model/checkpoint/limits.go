package checkpoint

import (
	"fmt"
	"math/bits"
)

// Limits on what files may claim. The largest published PolyLM (40 layers, 13.9 billion
// weights) has 565 tensors, 4 shards, an 80 kB pickle, a 60 kB safetensors header and a
// 44 kB index; a model of model.LayersMax layers stays within these limits.
const (
	configBytesMax = 1 << 20     // config.json
	indexBytesMax  = 8 << 20     // *.index.json
	headerBytesMax = 100_000_000 // safetensors header: the format's own limit
	pickleBytesMax = 4 << 20     // data.pkl

	tensorInfoBytesMax = 4 << 10 // type, shape and place of one tensor in a safetensors header

	shardsMax    = 512     // weight files of one checkpoint, all open at once
	tensorsMax   = 1 << 14 // tensors of one file or index
	dimsMax      = 8       // dimensions of a tensor
	dimMax       = 1 << 48 // size or stride of one dimension
	nameBytesMax = 1 << 10 // name of a tensor or file

	pickleStackMax   = 1 << 16 // values on the machine's stack; torch.save needs about 2,000
	pickleMemoMax    = 1 << 18 // memoised values
	pickleObjectsMax = 1 << 20 // containers, tensors and storages built by one pickle

	zipEntriesMax        = 1 << 15 // files in an archive
	zipDirectoryBytesMax = 8 << 20 // central directory of an archive
)

// checkedProduct multiplies sizes that are not negative; ok is false on overflow of int64.
func checkedProduct(sizes ...int64) (product int64, ok bool) {
	product = 1
	for _, size := range sizes {
		if size < 0 {
			return 0, false
		}
		high, low := bits.Mul64(uint64(product), uint64(size))
		if high != 0 || low > 1<<63-1 {
			return 0, false
		}
		product = int64(low)
	}
	return product, true
}

// checkDims refuses shapes that no tensor of a sane file has.
func checkDims(shape []int64) error {
	if len(shape) > dimsMax {
		return fmt.Errorf("%w: %d dimensions, at most %d", ErrLimit, len(shape), dimsMax)
	}
	for _, dim := range shape {
		if dim < 0 {
			return fmt.Errorf("%w: dimension %d is negative", ErrFormat, dim)
		}
		if dim > dimMax {
			return fmt.Errorf("%w: dimension %d, at most %d", ErrLimit, dim, int64(dimMax))
		}
	}
	return nil
}
