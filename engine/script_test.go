package engine

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"polynode/engine/sample"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts give into their files")

// TestScripts runs the scripts of testdata/scheduler. A script is a list of commands, each followed by ---- and what it prints,
// and an empty line. The commands:
//
//	config blocks=9 step=16 …     begins anew (positions=, sequences=, cacheoff)
//	submit a prompt=x20y3 …       a request called a; the prompt is 20 tokens of stream x and 3 of stream y
//	                              (max=, n=, best_of=, beams=, stop=1,2, hot, promptlogprobs)
//	step [n]                      one step, or n
//	drain                         steps until nothing is left, of which only the endings are shown
//	cancel a, finish a 1          what a caller does
//	forget                        the ranks lose everything
//	fail                          the step cannot be run
//
// What is printed is the specification of chunked prefill, sharing, preemption and the cache.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/scheduler/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := runScript(string(data))
			if err != nil {
				t.Fatal(err)
			}
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if want := string(data); got != want {
				t.Errorf("%s: %s", file, firstDifference(got, want))
			}
		})
	}
}

func firstDifference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d is %q, want %q", i+1, a[i], b[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(a), len(b))
}

// runScript returns the script with what its commands print.
func runScript(script string) (string, error) {
	var out strings.Builder
	s := &scripted{table: newTable(Config{Blocks: 9, Positions: 128})}
	lines := strings.Split(strings.TrimRight(script, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if strings.HasPrefix(line, "#") || line == "" {
			out.WriteString(line + "\n")
			continue
		}
		printed, err := s.do(strings.Fields(line))
		if err != nil {
			return "", fmt.Errorf("line %d: %s: %w", i+1, line, err)
		}
		fmt.Fprintf(&out, "%s\n----\n%s\n", line, strings.TrimRight(printed, "\n"))
		for i+1 < len(lines) && lines[i+1] != "" {
			i++ // what it printed before
		}
	}
	return out.String(), nil
}

// scripted is a table with names for its jobs.
type scripted struct {
	*table
}

func (s *scripted) do(words []string) (string, error) {
	switch words[0] {
	case "config":
		return s.begin(words[1:])
	case "submit":
		return s.submitNamed(words[1], words[2:])
	case "step":
		n := 1
		if len(words) > 1 {
			n, _ = strconv.Atoi(words[1])
		}
		return s.steps(n)
	case "drain":
		return s.drain()
	case "cancel":
		j, err := s.named(words[1])
		if err != nil {
			return "", err
		}
		s.marked[j] = true
		s.cancel(j)
	case "finish":
		j, err := s.named(words[1])
		if err != nil {
			return "", err
		}
		choice, err := strconv.Atoi(words[2])
		if err != nil {
			return "", err
		}
		s.dropChoice(j, choice)
	case "forget":
		s.forget()
		clear(s.model.blocks)
	case "fail":
		step := s.schedule()
		s.launch()
		s.abort(fmt.Errorf("%w %d: out of order", ErrStep, step.ID))
	default:
		return "", fmt.Errorf("no such command")
	}
	return s.state()
}

func (s *scripted) begin(words []string) (string, error) {
	c := Config{Positions: 128, Vocabulary: testVocabulary}
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		n, _ := strconv.Atoi(value)
		switch name {
		case "blocks":
			c.Blocks = n
		case "step":
			c.StepTokens = n
		case "sequences":
			c.SequencesMax = n
		case "positions":
			c.Positions = n
		case "cacheoff":
			c.CacheOff = true
		default:
			return "", fmt.Errorf("no such setting: %s", name)
		}
	}
	if err := c.Validate(); err != nil {
		return err.Error(), nil
	}
	s.table = newTable(c)
	return "ok", nil
}

func (s *scripted) submitNamed(id string, words []string) (string, error) {
	r := Request{ID: id, MaxTokens: 4, LengthPenalty: 1}
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		n, _ := strconv.Atoi(value)
		switch name {
		case "prompt":
			r.Prompt = scriptPrompt(value)
		case "max":
			r.MaxTokens = n
		case "n":
			r.Choices = n
		case "best_of":
			r.BestOf = n
		case "beams":
			r.Beams = n
		case "stop":
			for id := range strings.SplitSeq(value, ",") {
				n, _ := strconv.Atoi(id)
				r.StopIDs = append(r.StopIDs, int32(n))
			}
		case "hot":
			r.Params = sample.Params{Temperature: 1, Seed: 1}
		case "promptlogprobs":
			r.PromptLogprobs = true
		default:
			return "", fmt.Errorf("no such field: %s", name)
		}
	}
	if _, err := s.submitRequest(r); err != nil {
		return err.Error() + "\n", nil
	}
	return s.state()
}

// scriptPrompt makes x20y3 into 20 tokens of stream x and 3 of stream y.
func scriptPrompt(text string) (prompt []int32) {
	for text != "" {
		stream := int32(text[0])
		end := 1
		for end < len(text) && text[end] >= '0' && text[end] <= '9' {
			end++
		}
		n, _ := strconv.Atoi(text[1:end])
		for i := range int32(n) {
			prompt = append(prompt, (stream*3+i*i+i)%testVocabulary)
		}
		text = text[end:]
	}
	return prompt
}

func (s *scripted) named(id string) (*job, error) {
	for _, j := range s.jobs {
		if j.request.ID == id {
			return j, nil
		}
	}
	return nil, fmt.Errorf("no request %s", id)
}

// steps prints n steps and the state after the last.
func (s *scripted) steps(n int) (string, error) {
	var out strings.Builder
	for range n {
		step := s.schedule()
		fmt.Fprintf(&out, "step %d:", step.ID)
		if len(step.Chunks) == 0 {
			out.WriteString(" nothing to do")
		}
		for _, c := range step.Copies {
			fmt.Fprintf(&out, " copy %d→%d", c.Source, c.Target)
		}
		for i, c := range step.Chunks {
			q := s.plan[i].sequence
			fmt.Fprintf(&out, " %s.%d[%d:%d]", q.job.request.ID, q.choice, c.Start, c.Start+len(c.Tokens))
			if c.Sample {
				out.WriteString("→")
			}
		}
		out.WriteString("\n")
		if len(step.Chunks) > 0 {
			s.launch()
			if err := s.model.Execute(context.Background(), step, &s.output); err != nil {
				return "", err
			}
			s.commit(s.output.Results)
		}
		out.WriteString(s.tidings())
		if err := s.collect(); err != nil {
			return "", err
		}
	}
	state, err := s.state()
	return out.String() + state, err
}

// drain steps until there is nothing to do.
func (s *scripted) drain() (string, error) {
	var out strings.Builder
	for n := range 1000 {
		step := s.schedule()
		if len(step.Chunks) == 0 {
			state, err := s.state()
			return fmt.Sprintf("%d steps, %d preemptions so far\n%s%s", n, s.counts.preemptions, out.String(), state), err
		}
		s.launch()
		if err := s.model.Execute(context.Background(), step, &s.output); err != nil {
			return "", err
		}
		s.commit(s.output.Results)
		out.WriteString(s.tidings())
		if err := s.collect(); err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("no end")
}

// tidings prints endings and prompts; tokens show in the state.
func (s *scripted) tidings() string {
	var out strings.Builder
	for _, n := range s.news {
		e := n.event
		if e.Prompt != nil {
			fmt.Fprintf(&out, "%s: log-probabilities of %d prompt tokens\n", n.job.request.ID, len(e.Prompt))
		}
		if e.Finish != "" {
			fmt.Fprintf(&out, "%s.%d: %s\n", n.job.request.ID, e.Choice, e.Finish)
		}
	}
	for _, e := range s.endings {
		fmt.Fprintf(&out, "%s ended", e.job.request.ID)
		if e.err != nil {
			fmt.Fprintf(&out, ": %v", e.err)
		}
		out.WriteString("\n")
	}
	return out.String()
}

// state prints queue, sequences and blocks.
func (s *scripted) state() (string, error) {
	var out strings.Builder
	out.WriteString(s.tidings())
	if err := s.collect(); err != nil {
		return "", err
	}
	out.WriteString("waiting:")
	for _, j := range s.waiting {
		fmt.Fprintf(&out, " %s", j.request.ID)
	}
	out.WriteString("\nrunning:")
	for _, j := range s.running {
		for _, q := range j.live {
			fmt.Fprintf(&out, " %s.%d(%d/%d in", j.request.ID, q.choice, q.computed, len(q.tokens))
			for i, id := range q.blocks {
				fmt.Fprintf(&out, "%c%d", " ,"[min(i, 1)], id)
			}
			out.WriteString(")")
		}
	}
	fmt.Fprintf(&out, "\nblocks: %d free, %d of them cached\n", s.pool.free, s.pool.cached)
	return out.String(), nil
}
