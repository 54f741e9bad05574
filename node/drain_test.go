package node

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"polynode/configs"
)

// stream begins an answer of n choices and returns when its first event has come.
func stream(t *testing.T, client *http.Client, url, fields string) *http.Response {
	t.Helper()
	body := fmt.Sprintf(`{"prompt": "Alle Menschen sind frei und", "ignore_eos": true, "stream": true, %s}`, fields)
	response, err := client.Post(url+"/v1/completions", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	if _, err := io.ReadFull(response.Body, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	return response
}

// While a node drains its port stays open: probes are told, new requests are refused, and a list of prompts that was accepted
// is answered to its last, though the engine had not seen that yet.
func TestDrainAnswersOnItsPort(t *testing.T) {
	n := start(t, func(c *configs.Config) { c.HTTP = "127.0.0.1:0" })
	url := n.Info().URL
	client := &http.Client{Transport: new(http.Transport)}
	defer client.CloseIdleConnections()
	response := stream(t, client, url, `"max_tokens": 40`)
	many := make(chan string, 1)
	go func() {
		list := `{"prompt": [` + strings.Repeat(`"Alle Menschen sind frei und",`, 11) + `"Alle Menschen"], "max_tokens": 10, "ignore_eos": true}`
		answer, err := client.Post(url+"/v1/completions", "application/json", strings.NewReader(list))
		if err != nil {
			many <- err.Error()
			return
		}
		defer answer.Body.Close()
		text, _ := io.ReadAll(answer.Body)
		many <- answer.Status + string(text)
	}()
	for n.serving().engine.Stats().Running < 2 {
		if err := n.serving().engine.Probe(t.Context()); err != nil { // waits for a step
			t.Fatal(err)
		}
	}
	stopped := make(chan error, 1)
	go func() { stopped <- n.Stop(context.WithoutCancel(t.Context())) }()
	for {
		ready, err := client.Get(url + "/readyz")
		if err != nil {
			t.Fatalf("readiness while draining: %v", err)
		}
		text, _ := io.ReadAll(ready.Body)
		ready.Body.Close()
		if ready.StatusCode == http.StatusServiceUnavailable && strings.Contains(string(text), "draining") {
			break
		}
	}
	refused, err := client.Post(url+"/v1/completions", "application/json", strings.NewReader(`{"prompt": "x"}`))
	if err != nil {
		t.Fatal(err)
	}
	refused.Body.Close()
	if refused.StatusCode != http.StatusServiceUnavailable || refused.Header.Get("Retry-After") == "" {
		t.Errorf("a new request gets %s, Retry-After %q", refused.Status, refused.Header.Get("Retry-After"))
	}
	rest, err := io.ReadAll(response.Body)
	if err != nil || !strings.HasSuffix(string(rest), "data: [DONE]\n\n") {
		t.Errorf("the stream ended with %v and ...%.200s", err, rest[max(0, len(rest)-200):])
	}
	if text := <-many; !strings.HasPrefix(text, "200 OK") || strings.Count(text, `"finish_reason":"length"`) != 12 {
		t.Errorf("the list of prompts got %.300s", text)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// What is not done when the time for draining is over ends with an error that its client sees, and the node is gone soon.
func TestDrainEnds(t *testing.T) {
	n := start(t, nil)
	client := n.Client()
	ends := make(chan string)
	for seed := range 3 {
		response := stream(t, client, "http://localhost", fmt.Sprintf(`"max_tokens": 500, "n": 8, "temperature": 1, "seed": %d`, seed))
		go func() {
			text, err := io.ReadAll(response.Body)
			ends <- fmt.Sprintf("%v ...%s", err, text[max(0, len(text)-300):])
		}()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	begun := time.Now()
	if err := n.Stop(ctx); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	for range 3 {
		if end := <-ends; !strings.HasPrefix(end, "<nil>") || !strings.Contains(end, `data: {"error":`) || strings.Contains(end, "[DONE]") {
			t.Errorf("a stream ended with %s", end)
		}
	}
}
