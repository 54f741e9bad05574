package machines

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"polynode/shard"
)

// Times that no machine may exceed.
const (
	upWait   = 20 * time.Second // to start, and to join
	planWait = 20 * time.Second // for a plan of the machines that are here
	lookEach = 10 * time.Millisecond
)

// machine is a place at the switch and the process there.
type machine struct {
	t       *testing.T
	name    string
	plug    *plug
	data    string
	log     string // path of what its processes write
	process *exec.Cmd
	input   io.WriteCloser
	told    chan told
	ended   chan struct{}
	client  *http.Client
}

// newMachine makes a machine that is off.
func newMachine(p *plug, name string) *machine {
	t := p.network.t
	folder := t.TempDir()
	transport := &http.Transport{DialContext: p.dial, DisableKeepAlives: true}
	m := &machine{
		t: t, name: name, plug: p, data: filepath.Join(folder, "data"), log: filepath.Join(folder, "log"),
		client: &http.Client{Transport: transport, Timeout: 2 * time.Minute},
	}
	t.Cleanup(func() {
		if t.Failed() {
			m.dump()
		}
		m.kill()
		if t.Failed() || testing.Verbose() && os.Getenv("POLYNODE_MACHINES_LOG") != "" {
			t.Logf("the log of %s:\n%s", name, m.logged())
		}
	})
	return m
}

// start starts the machine's process and waits until it is up, or says why not.
func (m *machine) start(do task) error {
	m.t.Helper()
	do.Name, do.Data = m.name, m.data
	text, err := json.Marshal(do)
	if err != nil {
		m.t.Fatal(err)
	}
	log, err := os.OpenFile(m.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	defer log.Close()
	process := exec.Command("nice", "-n", "-10", "ip", "netns", "exec", m.plug.name, self()) // a machine has its processor for itself
	process.Env = append(os.Environ(), envMachine+"="+string(text))
	process.Stderr = log
	output, err := process.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if m.input, err = process.StdinPipe(); err != nil {
		m.t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		m.t.Fatal(err)
	}
	lines, ended := make(chan told, 1), make(chan struct{})
	m.process, m.told, m.ended = process, lines, ended
	go func() {
		defer close(ended)
		for scanner := bufio.NewScanner(output); scanner.Scan(); {
			var line told
			if json.Unmarshal(scanner.Bytes(), &line) == nil {
				lines <- line
			}
		}
		_ = process.Wait()
	}()
	return m.hear(upWait, func(line told) bool { return line.Up })
}

// hear waits for a line that the machine writes.
func (m *machine) hear(wait time.Duration, wanted func(told) bool) error {
	m.t.Helper()
	select {
	case line := <-m.told:
		if line.Error != "" {
			return fmt.Errorf("%s: %s", m.name, line.Error)
		}
		if !wanted(line) {
			m.t.Fatalf("%s says %+v", m.name, line)
		}
		return nil
	case <-m.ended:
		return fmt.Errorf("%s ended: %s", m.name, m.logged())
	case <-time.After(wait):
		m.t.Fatalf("%s says nothing for %v", m.name, wait)
		return nil
	}
}

// token is a join token of this machine, which coordinates.
func (m *machine) token() string {
	m.t.Helper()
	if _, err := fmt.Fprintln(m.input, "token"); err != nil {
		m.t.Fatal(err)
	}
	var text string
	if err := m.hear(upWait, func(line told) bool { text = line.Token; return text != "" }); err != nil {
		m.t.Fatal(err)
	}
	return text
}

// signal sends the machine's process a signal.
func (m *machine) signal(s syscall.Signal) {
	if err := m.process.Process.Signal(s); err != nil {
		m.t.Errorf("%v to %s: %v", s, m.name, err)
	}
}

// kill ends the process as a power cut does, and waits until it is gone.
func (m *machine) kill() {
	if m.process == nil {
		return
	}
	_ = m.process.Process.Kill() // it may have ended
	<-m.ended
	m.process = nil
}

// dump has a machine that runs write into its log what all its goroutines do, which ends it.
func (m *machine) dump() {
	if m.process == nil || m.process.Process.Signal(syscall.SIGCONT) != nil || m.process.Process.Signal(syscall.SIGQUIT) != nil {
		return
	}
	select {
	case <-m.ended:
	case <-time.After(lookEach * 200):
	}
}

// logged is what the machine has logged.
func (m *machine) logged() string {
	text, err := os.ReadFile(m.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// awaitLog waits until the machine has logged a line with all of these words.
func (m *machine) awaitLog(words ...string) {
	m.t.Helper()
	for deadline := time.After(planWait); ; {
		for line := range strings.Lines(m.logged()) {
			if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
				return
			}
		}
		select {
		case <-time.After(lookEach):
		case <-deadline:
			m.t.Errorf("%s does not log %q", m.name, words)
			return
		}
	}
}

// status is what the cluster says of itself.
type status struct {
	Coordinator string
	Epoch       uint64
	Plan        *shard.Plan
	Nodes       []struct {
		ID, Name, Address string
		Alive, Votes      bool
	}
}

// status asks this machine.
func (m *machine) status() (status, error) {
	var all struct{ Cluster status }
	answer, err := m.client.Get(fmt.Sprintf("http://127.0.0.1:%d/cluster/v1/status", httpPort))
	if err != nil {
		return all.Cluster, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("status of %s: %s: %s", m.name, answer.Status, text)
	}
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	return all.Cluster, err
}

// awaitPlan waits until exactly these machines have a place in the plan, as this one says, and returns how long that took.
func (m *machine) awaitPlan(places ...*machine) time.Duration {
	m.t.Helper()
	var names []string
	for _, place := range places {
		names = append(names, place.name)
	}
	begun := time.Now()
	last := ""
	for deadline := time.After(planWait); ; {
		s, err := m.status()
		if err == nil && s.places() == strings.Join(names, " ") {
			return time.Since(begun)
		}
		last = fmt.Sprintf("%+v %v", s, err)
		select {
		case <-time.After(lookEach):
		case <-deadline:
			m.t.Fatalf("%s has no plan for %v after %v: %s", m.name, names, planWait, last)
		}
	}
}

// places are the names of the machines in the plan, sorted.
func (s *status) places() string {
	if s.Plan == nil {
		return ""
	}
	var names []string
	for _, n := range s.Nodes {
		if _, _, there := s.Plan.Find(shard.NodeID(n.ID)); there {
			names = append(names, n.Name)
		}
	}
	sortNames(names)
	return strings.Join(names, " ")
}
