package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

const chatHelp = `Type a message and press Enter. End a line with \ to go on in the next one. Ctrl-C stops an answer, Ctrl-D leaves.
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
		talk := &conversation{client: c, request: sampling.request(), in: newLineReader(os.Stdin, os.Stdout), out: cmd.OutOrStdout()}
		talk.reset(system)
		// An interrupt ends an answer, not the chat, so only termination ends the whole.
		ctx, cancel := signal.NotifyContext(context.WithoutCancel(cmd.Context()), syscall.SIGTERM)
		defer cancel()
		return joinStop(talk.run(ctx), stop)
	}
	return cmd
}

// conversation is a chat in the terminal.
type conversation struct {
	client  *client
	request completionRequest
	in      lineReader
	out     io.Writer
	system  string
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
	for ctx.Err() == nil {
		text, err := t.in.readMessage()
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
	return nil
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
	answering, stop := signal.NotifyContext(ctx, os.Interrupt)
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
			fmt.Fprintln(t.out, err)
		}
		return nil
	}
	return err
}

// lineReader gives one message at a time.
type lineReader interface {
	readMessage() (string, error)
}

// newLineReader edits lines with history on a terminal and reads plain lines from anything else.
func newLineReader(in, out *os.File) lineReader {
	if !term.IsTerminal(int(in.Fd())) || !term.IsTerminal(int(out.Fd())) {
		return plainLines{bufio.NewReader(in)}
	}
	console := struct {
		io.Reader
		io.Writer
	}{in, out}
	return &terminalLines{fd: int(in.Fd()), terminal: term.NewTerminal(console, "> ")}
}

type plainLines struct{ in *bufio.Reader }

func (p plainLines) readMessage() (string, error) {
	return joinLines(func() (string, error) {
		line, err := p.in.ReadString('\n')
		if err == io.EOF && line != "" {
			err = nil
		}
		return strings.TrimRight(line, "\r\n"), err
	})
}

// terminalLines makes the terminal raw only while a line is edited, so that an interrupt during an answer is a signal.
type terminalLines struct {
	fd       int
	terminal *term.Terminal
}

func (t *terminalLines) readMessage() (string, error) {
	state, err := term.MakeRaw(t.fd)
	if err != nil {
		return "", err
	}
	defer term.Restore(t.fd, state)
	return joinLines(t.terminal.ReadLine)
}

// joinLines reads lines until one does not end with a backslash.
func joinLines(read func() (string, error)) (string, error) {
	var message strings.Builder
	for {
		line, err := read()
		if err != nil {
			return "", err
		}
		more, continued := strings.CutSuffix(line, `\`)
		message.WriteString(more)
		if !continued {
			return message.String(), nil
		}
		message.WriteByte('\n')
	}
}
