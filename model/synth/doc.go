// Package synth makes up the weights of a model of any shape: seeded, random, and straight in packed form, so that a
// model of 13 billion weights can be measured and tested where the published one is not at hand.
//
// It stands in for package checkpoint when a packed model is written and takes no part in the walk of a token. Text
// from such weights means nothing; every tensor says so, and the store labels the model.
//
// Invariant: the weights depend on the configuration, the seed and the format alone.
//
// All methods are safe for concurrent use; there are no goroutines here.
package synth
