package clients

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

const prompt = "Alle Menschen sind frei und"

// connect returns a client of the server at POLYNODE_URL, and the model that it serves.
func connect(t *testing.T, options ...option.RequestOption) (openai.Client, string) {
	t.Helper()
	url := strings.TrimSuffix(os.Getenv("POLYNODE_URL"), "/")
	if url == "" {
		t.Skip("POLYNODE_URL is not set")
	}
	key := os.Getenv("POLYNODE_KEY")
	if key == "" {
		key = "none"
	}
	options = append([]option.RequestOption{
		option.WithBaseURL(url + "/v1/"), option.WithAPIKey(key), option.WithMaxRetries(0),
	}, options...)
	client := openai.NewClient(options...)
	list, err := client.Models.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Data) == 0 {
		t.Fatal("no model is served")
	}
	return client, list.Data[0].ID
}

func chatParams(model string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model:     openai.ChatModel(model),
		Messages:  []openai.ChatCompletionMessageParamUnion{openai.SystemMessage("Answer in German."), openai.UserMessage(prompt)},
		MaxTokens: openai.Int(12), Temperature: openai.Float(0),
	}
}

func TestModels(t *testing.T) {
	client, model := connect(t)
	got, err := client.Models.Get(t.Context(), model)
	if err != nil || got.ID != model || got.Object != "model" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestChat(t *testing.T) {
	client, model := connect(t)
	params := chatParams(model)
	params.N = openai.Int(2)
	params.Logprobs, params.TopLogprobs = openai.Bool(true), openai.Int(2)
	whole, err := client.Chat.Completions.New(t.Context(), params)
	if err != nil {
		t.Fatal(err)
	}
	if len(whole.Choices) != 2 || whole.Usage.TotalTokens != whole.Usage.PromptTokens+whole.Usage.CompletionTokens {
		t.Errorf("%d choices, usage %+v", len(whole.Choices), whole.Usage)
	}
	params.StreamOptions = openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)}
	stream := client.Chat.Completions.NewStreaming(t.Context(), params)
	defer stream.Close()
	var all openai.ChatCompletionAccumulator
	for stream.Next() {
		if !all.AddChunk(stream.Current()) {
			t.Fatalf("a chunk that does not fit: %s", stream.Current().RawJSON())
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	for i, c := range whole.Choices {
		got := all.Choices[i]
		if got.Message.Content != c.Message.Content || got.FinishReason != c.FinishReason || len(got.Logprobs.Content) != len(c.Logprobs.Content) {
			t.Errorf("choice %d: streamed %q by %q, want %q by %q", i, got.Message.Content, got.FinishReason, c.Message.Content, c.FinishReason)
		}
	}
	if all.Usage.CompletionTokens != whole.Usage.CompletionTokens {
		t.Errorf("streamed usage %+v, want %+v", all.Usage, whole.Usage)
	}
}

func TestCompletion(t *testing.T) {
	client, model := connect(t)
	params := openai.CompletionNewParams{
		Model:     openai.CompletionNewParamsModel(model),
		Prompt:    openai.CompletionNewParamsPromptUnion{OfArrayOfStrings: []string{prompt, "Tous les êtres humains"}},
		MaxTokens: openai.Int(12), Temperature: openai.Float(0), Logprobs: openai.Int(1),
	}
	extra := option.WithJSONSet("repetition_penalty", 1.1)
	whole, err := client.Completions.New(t.Context(), params, extra)
	if err != nil {
		t.Fatal(err)
	}
	texts := make([]string, 2)
	stream := client.Completions.NewStreaming(t.Context(), params, extra)
	defer stream.Close()
	for stream.Next() {
		for _, c := range stream.Current().Choices {
			texts[c.Index] += c.Text
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	for i, c := range whole.Choices {
		if c.Text != texts[i] || len(c.Logprobs.Tokens) == 0 {
			t.Errorf("choice %d: streamed %q, want %q with log-probabilities", i, texts[i], c.Text)
		}
	}
}

func TestBeams(t *testing.T) {
	client, model := connect(t)
	got, err := client.Completions.New(t.Context(), openai.CompletionNewParams{
		Model: openai.CompletionNewParamsModel(model), MaxTokens: openai.Int(12), N: openai.Int(2),
		Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String(prompt)},
	}, option.WithJSONSet("num_beams", 4), option.WithJSONSet("early_stopping", true))
	if err != nil || len(got.Choices) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestErrors(t *testing.T) {
	client, model := connect(t)
	params := chatParams("no-such-model")
	_, err := client.Chat.Completions.New(t.Context(), params)
	var e *openai.Error
	if !errors.As(err, &e) || e.StatusCode != http.StatusNotFound || e.Code != "model_not_found" || e.Param != "model" {
		t.Errorf("%v", err)
	}
	params = chatParams(model)
	params.Messages = []openai.ChatCompletionMessageParamUnion{openai.UserMessage(strings.Repeat("wort ", 20000))}
	_, err = client.Chat.Completions.New(t.Context(), params)
	if !errors.As(err, &e) || e.StatusCode != http.StatusBadRequest || e.Code != "context_length_exceeded" {
		t.Errorf("%v", err)
	}
	params = chatParams(model)
	params.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{Name: "f"})}
	stream := client.Chat.Completions.NewStreaming(t.Context(), params)
	defer stream.Close()
	for stream.Next() {
		t.Error("a chunk came for a request with tools")
	}
	if err := stream.Err(); !errors.As(err, &e) || e.StatusCode != http.StatusBadRequest || e.Param != "tools" {
		t.Errorf("%v", err)
	}
}

// Every one of many requests at once succeeds, because the client waits as long as the server says.
func TestManyAtOnce(t *testing.T) {
	client, model := connect(t, option.WithMaxRetries(10))
	want, err := client.Chat.Completions.New(t.Context(), chatParams(model))
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for range 16 {
		wait.Go(func() {
			got, err := client.Chat.Completions.New(t.Context(), chatParams(model))
			if err != nil {
				t.Error(err)
				return
			}
			if got.Choices[0].Message.Content != want.Choices[0].Message.Content {
				t.Errorf("in company %q, alone %q", got.Choices[0].Message.Content, want.Choices[0].Message.Content)
			}
		})
	}
	wait.Wait()
}

// A client that goes away leaves nothing running.
func TestCancel(t *testing.T) {
	client, model := connect(t)
	ctx, cancel := context.WithCancel(t.Context())
	stream := client.Completions.NewStreaming(ctx, openai.CompletionNewParams{
		Model: openai.CompletionNewParamsModel(model), MaxTokens: openai.Int(400),
		Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String(prompt)},
	}, option.WithJSONSet("ignore_eos", true))
	if !stream.Next() {
		t.Fatal(stream.Err())
	}
	cancel()
	stream.Close()
	for end := time.Now().Add(20 * time.Second); running(t) > 0; {
		if time.Now().After(end) {
			t.Fatal("the request still runs after 20 s")
		}
	}
}

// running asks the server how many requests run.
func running(t *testing.T) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.TrimSuffix(os.Getenv("POLYNODE_URL"), "/")+"/cluster/v1/status", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+os.Getenv("POLYNODE_KEY"))
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var status struct{ Engine struct{ Running int } }
	if err := json.NewDecoder(answer.Body).Decode(&status); err != nil {
		t.Fatal(err)
	}
	return status.Engine.Running
}
