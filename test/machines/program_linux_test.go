package machines

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"polynode/configs"
	"polynode/node"
	"polynode/shard"
	"polynode/shard/planner"
)

// task is what a machine is to do.
type task struct {
	Name  string
	Data  string
	Join  string // HOST:PORT; empty founds a cluster, or is for a machine that is in one
	Token string
	Shape shape
}

// shape is the plan that a test wants: so many stages, over as many machines as there are. Uneven gives the second of a stage twice as much as the
// first, and so on.
type shape struct {
	Stages int
	Uneven bool
}

// told is a line that a machine writes.
type told struct {
	Up    bool   `json:"up,omitempty"`
	Token string `json:"token,omitempty"`
	Error string `json:"error,omitempty"`
}

// httpPort is where every machine answers clients, on its loopback.
const httpPort = 8080

// machineMain is the program of one machine.
func machineMain(text string) int {
	var t task
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	out := json.NewEncoder(os.Stdout)
	if err := t.run(ctx, out); err != nil {
		_ = out.Encode(told{Error: err.Error()})
		return 1
	}
	return 0
}

func (t *task) run(ctx context.Context, out *json.Encoder) error {
	config := configs.Default()
	config.Data, config.Name, config.HTTP = t.Data, t.Name, "127.0.0.1:"+strconv.Itoa(httpPort)
	config.Threads, config.KVMemory = 1, 64<<20
	log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("on", t.Name)
	if t.Join != "" {
		if err := node.Join(ctx, config, t.Join, t.Token, log); err != nil {
			return err
		}
	}
	n, err := node.StartPlanned(ctx, config, log, t.Shape.plan)
	if err != nil {
		return err
	}
	if err := out.Encode(told{Up: true}); err != nil {
		return err
	}
	go answer(ctx, n, os.Stdin, out)
	<-ctx.Done()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return n.Stop(ending)
}

// answer does what the test asks for, until it closes its end.
func answer(ctx context.Context, n *node.Node, in io.Reader, out *json.Encoder) {
	for lines := bufio.NewScanner(in); lines.Scan(); {
		if lines.Text() != "token" {
			continue
		}
		token, err := n.NewToken(ctx, false, time.Hour, 10)
		if err != nil {
			_ = out.Encode(told{Error: err.Error()})
		} else {
			_ = out.Encode(told{Token: token.Text})
		}
	}
}

// plan uses all machines. It puts the first of them by id into the first stage, the second into the second, and so on.
func (s shape) plan(p planner.Problem) (planner.Report, error) {
	members := make([][]shard.Member, min(s.Stages, len(p.Nodes)))
	for i, machine := range p.Nodes {
		stage := i % len(members)
		member := shard.Member{Node: machine.ID}
		if weight := float64(len(members[stage]) + 1); s.Uneven {
			member.Heads, member.Inner, member.Vocab = weight, weight, weight
		}
		members[stage] = append(members[stage], member)
	}
	plan, err := shard.Build(p.Model.Shape, p.Model.Digest, members)
	return planner.Report{Plan: plan}, err
}

// String names the shape for so many machines.
func (s shape) of(machines int) string {
	var parts []string
	if group := machines / s.Stages; group > 1 {
		parts = append(parts, fmt.Sprintf("TP%d", group))
	}
	if s.Stages > 1 {
		parts = append(parts, fmt.Sprintf("PP%d", s.Stages))
	}
	return strings.Join(parts, "×")
}
