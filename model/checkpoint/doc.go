// Package checkpoint reads published PolyLM and GPT-2 checkpoints: Hugging Face folders
// with a config.json and weights in torch zip pickles or safetensors, in one file or in
// shards.
//
// It stands before the walk of a token: the importer asks it for each tensor in turn,
// quantises the rows and writes them to a packed store, which is all that a running node
// ever sees. Whatever the files look like (Conv1D or Linear layout, transposed views,
// shared or duplicated head, half or full precision, with or without a name prefix), the
// caller sees the canonical names of package model, matrices as (outputs, inputs), and
// float32 values.
//
// Invariants:
//   - Open reads headers and checks every name and shape; after it, a tensor of the model
//     can only fail to be read because of the disk.
//   - Files are untrusted. Every size in them is bounded by a named constant of limits.go
//     and every offset is checked against the file before it is used; a pickle can build
//     tensors and dictionaries and nothing else. Bad bytes give an error that names the
//     file, the tensor or field and the reason.
//   - Nothing is loaded whole: weights are mapped, and pages that were read are given back
//     as reading goes on, so that a reader costs its destination and a little more.
//
// The package starts no goroutine. A Checkpoint and its Tensors may be used by many
// goroutines at once; Close waits for the reads under way.
package checkpoint
