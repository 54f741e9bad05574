package cluster

import (
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// machine lets raft apply commands to a State and others look at it.
type machine struct {
	mu      sync.Mutex
	state   *State
	changed chan struct{} // closed and replaced with every change
}

var _ raft.FSM = (*machine)(nil)

func newMachine() *machine {
	return &machine{state: &State{}, changed: make(chan struct{})}
}

// Apply answers raft with a Result.
func (m *machine) Apply(log *raft.Log) any {
	command, err := DecodeCommand(log.Data)
	if err != nil {
		return Result{Index: log.Index, Err: err}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	result := m.state.Apply(log.Index, command)
	if result.Err == nil {
		m.announce()
	}
	return result
}

// Snapshot copies the state; raft writes it later.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, err := m.state.Snapshot()
	return stored(data), err
}

// Restore replaces the state.
func (m *machine) Restore(r io.ReadCloser) error {
	defer r.Close()
	state, err := Restore(r)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = state
	m.announce()
	return nil
}

func (m *machine) announce() {
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *machine) copy() *State {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.Clone()
}

func (m *machine) watch() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// stored is a snapshot that raft writes.
type stored []byte

func (s stored) Persist(sink raft.SnapshotSink) error {
	if _, err := sink.Write(s); err != nil {
		_ = sink.Cancel()
		return err
	}
	return sink.Close()
}

func (s stored) Release() {}
