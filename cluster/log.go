package cluster

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// raftLogger hands what raft says to slog, one level lower: raft is talkative, and each start of a lone voter is a
// warning to it. Errors stay errors. slog decides what is written, so the levels of hclog are not used.
type raftLogger struct {
	hclog.Logger // for what raft does not use: it says nothing
	to           *slog.Logger
}

var _ hclog.Logger = (*raftLogger)(nil)

func newRaftLogger(to *slog.Logger) hclog.Logger {
	return &raftLogger{Logger: hclog.NewNullLogger(), to: to}
}

func (l *raftLogger) Log(level hclog.Level, message string, args ...any) {
	for i, arg := range args {
		if format, ok := arg.(hclog.Format); ok {
			args[i] = lateFormat(format)
		}
	}
	switch level {
	case hclog.Error:
		if usual(message) {
			l.to.Debug(message, args...)
			return
		}
		l.to.Error(message, args...)
	case hclog.Warn:
		l.to.Info(message, args...)
	default:
		l.to.Debug(message, args...)
	}
}

// usual are the complaints about other nodes that come and go; who is there and who is not is said elsewhere, once.
func usual(message string) bool {
	for _, start := range []string{"failed to appendEntries", "failed to heartbeat", "failed to decode incoming", "failed to make requestVote", "failed to pipeline", "failed to flush"} {
		if strings.HasPrefix(message, start) {
			return true
		}
	}
	return false
}

func (l *raftLogger) Trace(message string, args ...any) { l.Log(hclog.Trace, message, args...) }
func (l *raftLogger) Debug(message string, args ...any) { l.Log(hclog.Debug, message, args...) }
func (l *raftLogger) Info(message string, args ...any)  { l.Log(hclog.Info, message, args...) }
func (l *raftLogger) Warn(message string, args ...any)  { l.Log(hclog.Warn, message, args...) }
func (l *raftLogger) Error(message string, args ...any) { l.Log(hclog.Error, message, args...) }

func (l *raftLogger) With(args ...any) hclog.Logger {
	return &raftLogger{Logger: l.Logger, to: l.to.With(args...)}
}

func (l *raftLogger) Named(string) hclog.Logger      { return l }
func (l *raftLogger) ResetNamed(string) hclog.Logger { return l }

// lateFormat is a format and its arguments, which are put together only for a line that is written.
type lateFormat hclog.Format

func (f lateFormat) LogValue() slog.Value {
	if len(f) == 0 {
		return slog.StringValue("")
	}
	return slog.StringValue(fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...))
}

// lineLogger hands the lines of a log to slog, by the level that stands in brackets. What gossip warns of is usual in a network, so
// it is lowered here, as with raft.
type lineLogger struct{ to *slog.Logger }

func (l lineLogger) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	to := l.to.Debug
	if strings.Contains(text, "[ERR") {
		to = l.to.Info
	}
	if i := strings.Index(text, "] "); i >= 0 {
		text = text[i+2:]
	}
	to(text)
	return len(line), nil
}
