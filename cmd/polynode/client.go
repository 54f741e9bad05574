package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// errAPI is an error that the HTTP interface answered with.
var errAPI = errors.New("server")

// client talks to the HTTP interface of a node, in this process or elsewhere.
type client struct {
	http *http.Client
	base string // without a slash at the end
	key  string
}

// completionRequest is the part of the completion and chat bodies that the verbs use.
type completionRequest struct {
	Model             string          `json:"model,omitempty"`
	Prompt            any             `json:"prompt,omitempty"`
	Messages          []message       `json:"messages,omitempty"`
	MaxTokens         *int            `json:"max_tokens,omitempty"`
	Temperature       *float64        `json:"temperature,omitempty"`
	TopP              *float64        `json:"top_p,omitempty"`
	TopK              *int            `json:"top_k,omitempty"`
	MinP              *float64        `json:"min_p,omitempty"`
	RepetitionPenalty *float64        `json:"repetition_penalty,omitempty"`
	Seed              *int64          `json:"seed,omitempty"`
	Stop              []string        `json:"stop,omitempty"`
	N                 int             `json:"n,omitempty"`
	NumBeams          *int            `json:"num_beams,omitempty"`
	EarlyStopping     *bool           `json:"early_stopping,omitempty"`
	LengthPenalty     *float64        `json:"length_penalty,omitempty"`
	IgnoreEOS         bool            `json:"ignore_eos,omitempty"`
	Stream            bool            `json:"stream,omitempty"`
	StreamOptions     map[string]bool `json:"stream_options,omitempty"`
}

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// chunk is one event of a stream, of either kind.
type chunk struct {
	Choices []struct {
		Index        int     `json:"index"`
		Text         string  `json:"text"`
		Delta        message `json:"delta"`
		FinishReason string  `json:"finish_reason"`
	} `json:"choices"`
	Usage *usage    `json:"usage"`
	Error *apiError `json:"error"`
}

type usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
}

type apiError struct {
	Message string `json:"message"`
	Code    any    `json:"code"`
	Param   any    `json:"param"`
}

func (e *apiError) err() error {
	if param, ok := e.Param.(string); ok && param != "" {
		return fmt.Errorf("%w: %s (%s)", errAPI, e.Message, param)
	}
	return fmt.Errorf("%w: %s", errAPI, e.Message)
}

// call sends a JSON body (none for GET) and returns the response if its status is 200. The caller closes its body.
func (c *client) call(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var reader io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		reader = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, reader)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	request.Header.Set("Content-Type", "application/json")
	if c.key != "" {
		request.Header.Set("Authorization", "Bearer "+c.key)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errAPI, err)
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer response.Body.Close()
	var answer struct {
		Error *apiError `json:"error"`
	}
	text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	if json.Unmarshal(text, &answer) == nil && answer.Error != nil {
		return nil, answer.Error.err()
	}
	return nil, fmt.Errorf("%w: %s", errAPI, response.Status)
}

// get reads a JSON answer into out.
func (c *client) get(ctx context.Context, path string, out any) error {
	response, err := c.call(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return json.NewDecoder(response.Body).Decode(out)
}

// stream sends a request whose answer is a stream and hands each chunk to each. It returns the usage.
func (c *client) stream(ctx context.Context, path string, request completionRequest, each func(chunk) error) (usage, error) {
	request.Stream, request.StreamOptions = true, map[string]bool{"include_usage": true}
	response, err := c.call(ctx, http.MethodPost, path, request)
	if err != nil {
		return usage{}, err
	}
	defer response.Body.Close()
	var used usage
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<22)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue // an empty line or a comment that keeps the connection alive
		}
		if data == "[DONE]" {
			return used, nil
		}
		var next chunk
		if err := json.Unmarshal([]byte(data), &next); err != nil {
			return used, fmt.Errorf("%w: event that is no JSON: %w", errAPI, err)
		}
		if next.Error != nil {
			return used, next.Error.err()
		}
		if next.Usage != nil {
			used = *next.Usage
		}
		if err := each(next); err != nil {
			return used, err
		}
	}
	if err := lines.Err(); err != nil {
		return used, fmt.Errorf("%w: read stream: %w", errAPI, err)
	}
	return used, fmt.Errorf("%w: the stream ended before it was complete", errAPI)
}
