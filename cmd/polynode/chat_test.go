package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"golang.org/x/term"
)

// silentLines is a terminal at which nobody types.
type silentLines struct{ reading, abandoned chan struct{} }

func (s silentLines) readMessage() (string, error) {
	close(s.reading)
	<-s.abandoned
	return "", os.ErrClosed
}

func (s silentLines) abandon() { close(s.abandoned) }

func modelsOnly(t *testing.T) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(`{"data":[{"id":"m"}]}`)) }))
	t.Cleanup(server.Close)
	return server.URL
}

// Signals end a chat that waits for input, and the terminal is given back.
func TestSignalsEndAWaitingChat(t *testing.T) {
	url := modelsOnly(t)
	for _, signal := range []string{"interrupt", "termination"} {
		lines := silentLines{make(chan struct{}), make(chan struct{})}
		interrupts := make(chan os.Signal, 1)
		ctx, cancel := context.WithCancel(t.Context())
		talk := &conversation{client: &client{http: http.DefaultClient, base: url}, in: lines, out: new(bytes.Buffer), interrupts: interrupts}
		ended := make(chan error, 1)
		go func() { ended <- talk.run(ctx) }()
		<-lines.reading
		if signal == "interrupt" {
			interrupts <- os.Interrupt
		} else {
			cancel()
		}
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("after %s the chat ended with %v", signal, err)
		}
		<-lines.abandoned
		cancel()
	}
}

// interrupter is a screen; when half an answer is on it, somebody presses Ctrl-C.
type interrupter struct {
	shown      bytes.Buffer
	interrupts chan<- os.Signal
}

func (i *interrupter) Write(p []byte) (int, error) {
	if string(p) == "half an answer" {
		i.interrupts <- os.Interrupt
	}
	return i.shown.Write(p)
}

// An interrupt ends an answer that streams; what was said so far stays, and the chat goes on.
func TestInterruptEndsAnAnswer(t *testing.T) {
	interrupts := make(chan os.Signal, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.Write([]byte(`{"data":[{"id":"m"}]}`))
			return
		}
		io.Copy(io.Discard, r.Body) // only then net/http notices that the client goes
		w.Write([]byte("data: {\"choices\":[{\"delta\":{\"content\":\"half an answer\"}}]}\n\n"))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer server.Close()
	out := new(interrupter)
	out.interrupts = interrupts
	talk := &conversation{
		client: &client{http: http.DefaultClient, base: server.URL}, out: out, interrupts: interrupts,
		in: plainLines{newReader("tell me\n/history\n")},
	}
	if err := talk.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.shown.String(), "assistant: half an answer") {
		t.Errorf("got\n%s", &out.shown)
	}
}

// A Ctrl-C that comes too late for an answer clears the line that is being written and leaves the chat alone.
func TestInterruptClearsALine(t *testing.T) {
	console := struct {
		io.Reader
		io.Writer
	}{interruptClears{strings.NewReader("nonsense\x03\x03hello\r")}, io.Discard}
	if line, err := term.NewTerminal(console, "> ").ReadLine(); err != nil || line != "hello" {
		t.Errorf("got %q, %v", line, err)
	}
}

// A server that cannot be reached ends a message, not the chat.
func TestChatOutlivesItsServer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + listener.Addr().String()
	listener.Close()
	out := new(bytes.Buffer)
	talk := &conversation{client: &client{http: http.DefaultClient, base: url}, out: out}
	if err := talk.answer(t.Context(), "are you there?"); err != nil {
		t.Error(err)
	}
	if !strings.Contains(out.String(), "refused") || len(talk.request.Messages) != 0 {
		t.Errorf("messages %v, output %s", talk.request.Messages, out)
	}
}
