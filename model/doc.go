// Package model computes the GPT-2/PolyLM transformer over one stage and one rank.
//
// A Stage holds the layers and the share of each matrix that a plan gives to one rank, as views into a Source,
// and takes the residual stream from its first layer to its last. The first stage turns token ids into the
// stream, the last turns it into logits of its slice of the vocabulary. It stands between engine/worker, which
// calls it with a step's rows, and kernels, which does the arithmetic; ranks of a group meet in Group.AllReduce.
//
// Invariants: the residual stream, LayerNorm and softmax are float32; matrix products are sums of integers, so
// logits have the same bits for every plan, batch, prompt chunking and thread count; nothing is allocated in a
// step once buffers have grown to its size; weights are verified before their first use.
//
// A Stage and a Cache belong to one goroutine at a time. The work inside a call is spread over the stage's pool.
package model
