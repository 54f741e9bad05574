// Command polynode turns ordinary machines into one server for PolyLM.
//
// Each verb is one file: it parses its flags, calls a node or the HTTP interface, and prints. Verbs that answer questions take
// --json. A verb that needs a model and is not told where a server runs starts a node inside its own process and talks to it
// through the same HTTP handler as everybody else, over an in-memory connection.
//
// Everything runs on the main goroutine and those of the node, which the verb that started it stops and waits for.
package main
