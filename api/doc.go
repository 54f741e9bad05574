// Package api serves one model over HTTP in the shape of the OpenAI API.
//
// It stands between a client's socket and the engine: it reads a request strictly, turns its text into tokens, submits them,
// turns the tokens that come back into text, and writes an answer or a stream of events. In the walk of a token it is the
// first and the last room. It knows no model: what it says of one is in Config.
//
// The rooms: server.go has the routes; json.go and fields.go read untrusted JSON; generation.go, completion_request.go and
// chat_request.go give its fields their meaning; chat_format.go writes a conversation as a prompt; run.go drives the engine;
// text.go and stop.go turn tokens into text that may be sent; completion.go and chat.go write answers; sse.go writes events;
// health.go, metrics.go, models.go and tokenize.go are the small routes.
//
// Invariants:
//   - A stream's pieces joined are the text of the same request without streaming: both come from the same deltas.
//   - Text never holds half a character and never holds any part of a stop string that was met.
//   - After "[DONE]" or a finish reason nothing follows; an error in the middle of a stream is an event with "error" and is
//     followed by the end of the stream, never by "[DONE]".
//   - Control tokens are never made from a client's text.
//   - Prompts and answers are never logged, and metrics have constant labels only.
//
// Goroutines: each request is served on the goroutine that net/http gives it. run starts at most windowMax workers for it, which
// wait for the engine; it cancels them and waits for their end before it returns, so nothing of a request outlives its handler.
package api
