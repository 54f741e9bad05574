package machines

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// question is a request that must be answered alike by every cluster.
type question struct {
	name string
	body map[string]any
}

const prompt = "Alle Menschen sind frei und"

// questions are one of each kind. Log-probabilities show the bits of logits.
func questions(tokens int) []question {
	prompts := []string{prompt, "All human beings are born", "Tous les êtres humains", "Todos los seres humanos", "Toda persona tiene", "人人生而自由", "Everyone has the right to", "Jeder hat das Recht auf"}
	return []question{
		{"greedy", map[string]any{"prompt": prompt, "temperature": 0, "max_tokens": tokens}},
		{"sampled", map[string]any{"prompt": prompt, "temperature": 1.3, "seed": 7, "top_p": 0.95, "max_tokens": tokens}},
		{"beams", map[string]any{"prompt": prompt, "num_beams": 4, "n": 2, "max_tokens": tokens / 2}},
		{"batch of 8", map[string]any{"prompt": prompts, "temperature": 0.8, "seed": 11, "max_tokens": tokens / 2}},
	}
}

func (m *machine) post(body map[string]any) (*http.Response, error) {
	all := map[string]any{"ignore_eos": true, "logprobs": 3}
	for key, value := range body {
		all[key] = value
	}
	text, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	answer, err := m.client.Post(fmt.Sprintf("http://127.0.0.1:%d/v1/completions", httpPort), "application/json", bytes.NewReader(text))
	if err == nil && answer.StatusCode != http.StatusOK {
		defer answer.Body.Close()
		text, _ := io.ReadAll(answer.Body)
		return nil, fmt.Errorf("%s answers %s: %s", m.name, answer.Status, text)
	}
	return answer, err
}

// choices asks a question and returns the answer's choices as they are written, tokens and log-probabilities with them.
func (m *machine) choices(body map[string]any) (string, error) {
	answer, err := m.post(body)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	var all struct{ Choices json.RawMessage }
	err = json.NewDecoder(answer.Body).Decode(&all)
	return string(all.Choices), err
}

// stream is an answer that comes token by token.
type stream struct {
	t    *testing.T
	came chan struct{} // takes a value for each token, up to its room
	done chan struct{}

	mu    sync.Mutex
	text  strings.Builder
	times []time.Time
	err   error
}

// stream asks a question, the answer to which comes bit by bit.
func (m *machine) stream(tokens int) *stream {
	m.t.Helper()
	answer, err := m.post(map[string]any{"prompt": prompt, "temperature": 0, "max_tokens": tokens, "stream": true, "return_token_ids": true})
	if err != nil {
		m.t.Fatal(err)
	}
	s := &stream{t: m.t, came: make(chan struct{}, tokens), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		defer answer.Body.Close()
		s.read(answer.Body)
	}()
	return s
}

func (s *stream) read(body io.Reader) {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, found := strings.CutPrefix(lines.Text(), "data: ")
		if !found || data == "[DONE]" {
			continue
		}
		var event struct {
			Choices []struct {
				TokenIDs []int           `json:"token_ids"`
				Logprobs json.RawMessage `json:"logprobs"`
			}
			Error json.RawMessage
		}
		err := json.Unmarshal([]byte(data), &event)
		if err == nil && event.Error != nil {
			err = fmt.Errorf("the stream ends with %s", event.Error)
		}
		s.mu.Lock()
		s.err = err
		for _, choice := range event.Choices {
			for _, id := range choice.TokenIDs {
				fmt.Fprintf(&s.text, "%d ", id)
				s.times = append(s.times, time.Now())
				s.came <- struct{}{}
			}
		}
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = lines.Err()
}

// after waits for that many more tokens.
func (s *stream) after(tokens int) {
	s.t.Helper()
	for ; tokens > 0; tokens-- {
		select {
		case <-s.came:
		case <-s.done:
			s.t.Fatalf("the answer ended too early for the test: %v", s.err)
		case <-time.After(silenceMax):
			s.t.Fatalf("no token for %v", silenceMax)
		}
	}
}

// since waits for so many tokens that come after a moment.
func (s *stream) since(from time.Time, tokens int) {
	s.t.Helper()
	for {
		s.mu.Lock()
		count := 0
		for _, at := range s.times {
			if at.After(from) {
				count++
			}
		}
		s.mu.Unlock()
		if count >= tokens {
			return
		}
		s.after(1)
	}
}

// silenceMax is how long no token may come. How long answers take says nothing where other work has the processors.
const silenceMax = 10 * time.Second

// whole waits for the end and returns all token ids.
func (s *stream) whole() string {
	s.t.Helper()
	for ended := false; !ended; {
		select {
		case <-s.done:
			ended = true
		case <-s.came:
		case <-time.After(silenceMax):
			s.t.Fatalf("no token for %v; %d came", silenceMax, len(s.times))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		s.t.Error(s.err)
	}
	return s.text.String()
}

// pause is the longest time without a token that ended after a moment, counted from that moment on.
func (s *stream) pause(from time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	longest := time.Duration(0)
	for i, at := range s.times {
		if !at.After(from) {
			continue
		}
		begun := from
		if i > 0 && s.times[i-1].After(from) {
			begun = s.times[i-1]
		}
		longest = max(longest, at.Sub(begun))
	}
	return longest
}
