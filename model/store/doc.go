// Package store keeps packed models: it writes them once from a source of weights and serves them for ever after from
// a memory map, verified.
//
// A model is one file (extension .pn): a header page, the tensors packed for the kernels, a list of hashes, the
// tokenizer and a manifest that describes and pins all of them; docs/store.md gives every byte. The SHA-256 of the
// manifest is the model's digest and, in a store folder, its file name. A Model is a model.Source: this is where a
// token's walk first touches weights, when a worker takes the rows and columns of its rank as views of the map.
//
// Invariants: a file is either complete or not a model (the header is written last, under another name); no tensor or
// tokenizer byte is handed out as checked before its hash was compared with the manifest; the same weights, options and
// format give the same bytes on every machine; nothing in a file can make the reader step outside it.
//
// Goroutines: a Model and a Dir are safe for concurrent use. Writing uses a bounded group of goroutines that ends
// before the call returns. ReadAhead starts the only goroutine that runs in the background; Close ends it and waits.
package store
