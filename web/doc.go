// Package web is the page that a node shows in a browser: talk to the model, see what it runs on.
//
// It is three files without a build step and without anything from elsewhere, embedded in the binary. It stands at the very
// end of the walk of a token, where the text appears; it reaches the server only through the same HTTP API as every client.
//
// Invariants: nothing is loaded from another origin, which a content security policy enforces; text from the model is never
// read as HTML; all files together stay below 40 kB.
//
// The package starts no goroutine; Handler is safe for concurrent use.
package web
