// Package clients drives a running server with the official OpenAI client for Go, as its users do. It is a module of its own, so
// that the client is no dependency of the product. Give it the server:
//
//	polynode up --http 127.0.0.1:8080 &
//	cd test/clients && POLYNODE_URL=http://127.0.0.1:8080 go test ./...
//	cd test/clients/js && npm ci && POLYNODE_URL=http://127.0.0.1:8080 npm test
//
// POLYNODE_KEY is the API key, if the server wants one. Without POLYNODE_URL all tests are skipped. The folder js has the same for
// the official client for JavaScript, the AI SDK, OpenAI's own schemas and the page in a headless Chromium.
package clients
