package api

import (
	"fmt"
	"regexp"
	"strings"
)

// ChatFormat is how a conversation is written as the one text that a model continues. A model is trained with one.
type ChatFormat string

// The formats of the PolyLM family.
const (
	// ChatPlain joins all texts with line feeds: for base models, which know no roles.
	ChatPlain ChatFormat = "plain"
	// ChatMarkers puts <|user|> and <|assistant|> on lines of their own, as PolyLM-Chat-13B was trained. Its authors show one
	// turn only; further turns follow the same pattern.
	ChatMarkers ChatFormat = "chat"
	// ChatMultialpaca ends a question with an empty line, as PolyLM-Multialpaca-13B was trained; earlier turns stand before it
	// as question, empty line, answer, line feed, and runs of line feeds in questions become one, as in its authors' demo.
	ChatMultialpaca ChatFormat = "multialpaca"
)

// ParseChatFormat reads the name of a format.
func ParseChatFormat(name string) (ChatFormat, error) {
	switch f := ChatFormat(name); f {
	case ChatPlain, ChatMarkers, ChatMultialpaca:
		return f, nil
	}
	return "", fmt.Errorf("parse chat format %q: want %q, %q or %q", name, ChatPlain, ChatMarkers, ChatMultialpaca)
}

// message is one turn of a conversation.
type message struct {
	role string // system, developer, user or assistant
	text string
}

// ending is how the prompt of a conversation ends.
type ending int

const (
	endAnswer   ending = iota // where an answer begins
	endContinue               // within the assistant's last message
	endNothing                // after the last message
)

const (
	markUser      = "<|user|>"
	markAssistant = "<|assistant|>"
)

// stops are the strings that end an answer in this format although the model went on: the next turn's beginning.
func (c ChatFormat) stops() []string {
	if c == ChatMarkers {
		return []string{markUser, "\n" + markUser}
	}
	return nil
}

// render writes a conversation as a prompt. No format has a place for a system message, so its text goes in front of the
// user's text that follows it.
func (c ChatFormat) render(messages []message, end ending) string {
	turns := fold(messages)
	switch c {
	case ChatMarkers:
		return renderMarkers(turns, end)
	case ChatMultialpaca:
		return renderMultialpaca(turns, end)
	}
	texts := make([]string, len(turns))
	for i, t := range turns {
		texts[i] = t.text
	}
	return strings.Join(texts, "\n")
}

// fold leaves only users' and assistants' turns, in alternation: system texts join the next user's turn, and neighbours of one
// role become one turn.
func fold(messages []message) []message {
	var turns []message
	add := func(role, text string) {
		if n := len(turns); n > 0 && turns[n-1].role == role {
			turns[n-1].text += "\n" + text
			return
		}
		turns = append(turns, message{role, text})
	}
	for _, m := range messages {
		role := m.role
		if role == "system" || role == "developer" {
			role = "user"
		}
		add(role, m.text)
	}
	return turns
}

func renderMarkers(turns []message, end ending) string {
	var b strings.Builder
	for i, t := range turns {
		mark := markUser
		if t.role == "assistant" {
			mark = markAssistant
		}
		b.WriteString(mark + "\n" + t.text)
		if i < len(turns)-1 || end != endContinue {
			b.WriteByte('\n')
		}
	}
	if end == endAnswer {
		b.WriteString(markAssistant + "\n")
	}
	return b.String()
}

var lineFeeds = regexp.MustCompile("\n+")

func renderMultialpaca(turns []message, end ending) string {
	var b strings.Builder
	for i, t := range turns {
		last := i == len(turns)-1
		if t.role == "assistant" {
			b.WriteString(t.text)
			if !last || end != endContinue {
				b.WriteByte('\n')
			}
			continue
		}
		b.WriteString(lineFeeds.ReplaceAllString(strings.TrimSpace(t.text), "\n"))
		if !last || end == endAnswer {
			b.WriteString("\n\n")
		}
	}
	return b.String()
}
