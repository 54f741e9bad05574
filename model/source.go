package model

import (
	"polynode/kernels"
	"polynode/shard"
)

// Source gives a rank the weights of its slice and nothing else. Implementations are safe for concurrent use; what
// they return stays valid and unchanged until the source is closed by its owner.
type Source interface {
	// Config describes the model.
	Config() Config
	// Leaf is the width in K at which the model's matrices may be cut.
	Leaf() int
	// Vector returns a float32 tensor whole, row by row for wpe.
	Vector(name Name) ([]float32, error)
	// Matrix returns the view of rows × k of a packed matrix, without a copy and without reading it.
	Matrix(name Name, rows, k shard.Slice) (kernels.Matrix, error)
	// Verify reads the bytes of rows × k and compares them with the hashes in the manifest, once: later calls for
	// what is known to be good are cheap. It must be called before the bytes are used.
	Verify(name Name, rows, k shard.Slice) error
}

// Group is this rank's side of the ranks that split each matrix of a stage. A group of one does nothing. All ranks
// call the same operations in the same order; an error ends the step.
type Group interface {
	Rank() int
	Size() int
	// AllReduce replaces sums by the sums over all ranks. Integer addition makes the order irrelevant.
	AllReduce(sums []int32) error
	// AllGather returns what every rank gave, by rank. The result is valid until the next call.
	AllGather(mine []byte) ([][]byte, error)
}
