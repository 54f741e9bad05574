package pool

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// TaskPanic is what Run panics with after a part has panicked: the first panic that was noticed.
type TaskPanic struct {
	Part  int
	Value any    // the value the part panicked with
	Stack []byte // of the goroutine that ran the part
}

// errExited is the value of a part that ended its goroutine (runtime.Goexit) instead of returning.
var errExited = errors.New("part ended its goroutine")

func newTaskPanic(part int, value any) *TaskPanic {
	if value == nil {
		value = errExited
	}
	return &TaskPanic{Part: part, Value: value, Stack: debug.Stack()}
}

// Error names the part and the cause.
func (p *TaskPanic) Error() string {
	return fmt.Sprintf("part %d of a task panicked: %v", p.Part, p.Value)
}

// Unwrap is the value of the panic if that is an error.
func (p *TaskPanic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}
