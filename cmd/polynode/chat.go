package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
)

const chatHelp = `Type a message and press Enter. End a line with \ to go on in the next one. Ctrl-C stops an answer or clears the
line, Ctrl-D leaves.
  /reset          forget the conversation
  /system TEXT    set the system message and start over
  /history        show the conversation
  /help           show this`

func newChat() *cobra.Command {
	var system string
	cmd := &cobra.Command{
		Use:   "chat",
		Short: "Talk to the model in the terminal",
		Long: `Talk to the model. The messages are put into the prompt format that the model was trained with: that of
PolyLM-Chat, that of PolyLM-Multialpaca, or a plain one for base models, which continue a text rather than answer.

` + chatHelp,
		Example: `  polynode chat --model polylm-chat-13b
  polynode chat --url http://127.0.0.1:8080 --temperature 0.7 --top-p 0.8`,
		Args: exactArgs(0, "no arguments"),
	}
	connect := addConnection(cmd)
	sampling := addSampling(cmd, 512)
	cmd.Flags().StringVar(&system, "system", "", "system message")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, stop, err := connect.open(cmd.Context())
		if err != nil {
			return err
		}
		// An interrupt ends an answer, not the chat, so only termination ends the whole.
		ctx, cancel := signal.NotifyContext(context.WithoutCancel(cmd.Context()), syscall.SIGTERM)
		defer cancel()
		interrupts := make(chan os.Signal, 1)
		signal.Notify(interrupts, os.Interrupt)
		defer signal.Stop(interrupts)
		talk := &conversation{
			client: c, request: sampling.request(), in: newLineReader(os.Stdin, os.Stdout), out: cmd.OutOrStdout(), interrupts: interrupts,
		}
		talk.reset(system)
		return joinStop(talk.run(ctx), stop)
	}
	return cmd
}

// conversation is a chat in the terminal.
type conversation struct {
	client     *client
	request    completionRequest
	in         lineReader
	out        io.Writer
	interrupts <-chan os.Signal
	system     string
}

func (t *conversation) reset(system string) {
	t.system, t.request.Messages = system, nil
	if system != "" {
		t.request.Messages = []message{{"system", system}}
	}
}

// run reads messages until the input ends.
func (t *conversation) run(ctx context.Context) error {
	var models struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if err := t.client.get(ctx, "/v1/models", &models); err != nil {
		return err
	}
	if len(models.Data) > 0 {
		fmt.Fprintf(t.out, "Talking to %s. /help says what you can do.\n", models.Data[0].ID)
	}
	for {
		text, err := t.read(ctx)
		if errors.Is(err, io.EOF) {
			fmt.Fprintln(t.out)
			return nil
		}
		if err != nil {
			return fmt.Errorf("read message: %w", err)
		}
		switch {
		case strings.TrimSpace(text) == "":
		case strings.HasPrefix(text, "/"):
			t.command(text)
		default:
			if err := t.answer(ctx, text); err != nil {
				return err
			}
		}
	}
}

// read waits for a message. A signal ends the wait with context.Canceled; the read under it cannot be ended and goes on as
// long as the process.
func (t *conversation) read(ctx context.Context) (string, error) {
	type result struct {
		text string
		err  error
	}
	results := make(chan result, 1)
	go func() {
		text, err := t.in.readMessage()
		results <- result{text, err}
	}()
	select {
	case r := <-results:
		return r.text, r.err
	case <-t.interrupts:
	case <-ctx.Done():
	}
	t.in.abandon()
	return "", context.Canceled
}

func (t *conversation) command(line string) {
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "/reset":
		t.reset(t.system)
	case "/system":
		t.reset(strings.TrimSpace(rest))
	case "/history":
		for _, m := range t.request.Messages {
			fmt.Fprintf(t.out, "%s: %s\n", m.Role, m.Content)
		}
	case "/help":
		fmt.Fprintln(t.out, chatHelp)
	default:
		fmt.Fprintf(t.out, "There is no %s; /help lists what there is.\n", verb)
	}
}

// answer sends a message and streams the reply. An interrupt or an error of the server ends the reply, not the chat;
// the message is then forgotten.
func (t *conversation) answer(ctx context.Context, text string) error {
	answering, stop := t.untilInterrupt(ctx)
	defer stop()
	t.request.Messages = append(t.request.Messages, message{"user", text})
	var reply strings.Builder
	_, err := t.client.stream(answering, "/v1/chat/completions", t.request, func(next chunk) error {
		for _, choice := range next.Choices {
			reply.WriteString(choice.Delta.Content)
			if _, err := io.WriteString(t.out, choice.Delta.Content); err != nil {
				return err
			}
		}
		return nil
	})
	fmt.Fprintln(t.out)
	switch {
	case err == nil || reply.Len() > 0 && answering.Err() != nil:
		t.request.Messages = append(t.request.Messages, message{"assistant", reply.String()})
		return nil
	case answering.Err() != nil || errors.Is(err, errAPI):
		t.request.Messages = t.request.Messages[:len(t.request.Messages)-1]
		if answering.Err() == nil {
			fmt.Fprintf(t.out, "%v\nThe message is forgotten; /reset forgets the whole conversation.\n", err)
		}
		return nil
	}
	return err
}

// untilInterrupt is ctx until the next interrupt. The returned function must be called.
func (t *conversation) untilInterrupt(ctx context.Context) (context.Context, func()) {
	select {
	case <-t.interrupts: // of before
	default:
	}
	ctx, cancel := context.WithCancel(ctx)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		select {
		case <-t.interrupts:
			cancel()
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		cancel()
		waiting.Wait()
	}
}
