// Package tokenizer turns text into token ids and token ids into text, exactly as the SentencePiece C++ library 0.1.97 does.
//
// It stands at both ends of the walk of a token: a request's text becomes ids here before the engine sees it, and every
// sampled id becomes text here before a client sees it. It knows nothing of models, requests or HTTP.
//
// # The path of a text
//
// Append normalises the text to runes (normalize.go, charsmap.go), then segments the runes with the model's algorithm:
// unigram.go finds the best path under a unigram language model, bpe.go merges neighbouring symbols by score. Both walk one
// rune trie (trie.go) over the pieces. Runes that no piece covers become byte pieces or one unknown piece (vocab.go).
// Decode and Stream (stream.go) go the other way, one token at a time. Parse (parse.go) builds all of it from the bytes of a
// tokenizer.model file (proto.go).
//
// # Invariants
//
//   - Ids agree with the library for every text, whether valid UTF-8 or not; malformed bytes count as U+FFFD each.
//   - Special pieces are never read from text: "<s>" typed by a user is ordinary characters.
//   - The pieces of a Stream joined together equal Decode of the same ids, and each is valid UTF-8.
//   - Parse never panics, whatever the bytes; its memory is bounded by the limits in limits.go.
//
// # Goroutines
//
// A *SentencePiece is read-only after Parse and safe for concurrent use; its scratch memory comes from a pool. A Stream
// belongs to one goroutine at a time. The package starts no goroutine.
package tokenizer
