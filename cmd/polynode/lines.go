package main

import (
	"bufio"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// lineReader gives one message at a time.
type lineReader interface {
	readMessage() (string, error)
	// abandon undoes what a readMessage that nobody waits for any more has done to the terminal.
	abandon()
}

// newLineReader edits lines with history on a terminal and reads plain lines from anything else.
func newLineReader(in, out *os.File) lineReader {
	if !term.IsTerminal(int(in.Fd())) || !term.IsTerminal(int(out.Fd())) {
		return plainLines{bufio.NewReader(in)}
	}
	console := struct {
		io.Reader
		io.Writer
	}{interruptClears{in}, out}
	return &terminalLines{in: int(in.Fd()), out: int(out.Fd()), terminal: term.NewTerminal(console, "> ")}
}

type plainLines struct{ in *bufio.Reader }

func (p plainLines) abandon() {}

func (p plainLines) readMessage() (string, error) {
	return joinLines(func() (string, error) {
		line, err := p.in.ReadString('\n')
		if err == io.EOF && line != "" {
			err = nil
		}
		return strings.TrimRight(line, "\r\n"), err
	})
}

// interruptClears makes Ctrl-C empty the line before the cursor, as Ctrl-U does: a Ctrl-C that comes after the end of the answer
// that it was meant for should not end the chat.
type interruptClears struct{ io.Reader }

func (r interruptClears) Read(p []byte) (int, error) {
	const ctrlC, ctrlU = 3, 21
	n, err := r.Reader.Read(p)
	for i := range p[:n] {
		if p[i] == ctrlC {
			p[i] = ctrlU
		}
	}
	return n, err
}

// terminalLines makes the terminal raw only while a line is edited, so that an interrupt during an answer is a signal.
type terminalLines struct {
	in, out  int
	terminal *term.Terminal

	mu     sync.Mutex
	cooked *term.State // of the terminal before it was made raw; nil while it is not
}

func (t *terminalLines) readMessage() (string, error) {
	if width, height, err := term.GetSize(t.out); err == nil && width > 0 {
		// A size that is not taken only makes long lines wrap at the wrong place.
		_ = t.terminal.SetSize(width, height)
	}
	state, err := term.MakeRaw(t.in)
	if err != nil {
		return "", err
	}
	t.mu.Lock()
	t.cooked = state
	t.mu.Unlock()
	defer t.abandon()
	return joinLines(t.terminal.ReadLine)
}

func (t *terminalLines) abandon() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cooked != nil {
		// There is nothing better to do with a terminal that cannot be restored.
		_ = term.Restore(t.in, t.cooked)
		t.cooked = nil
	}
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
