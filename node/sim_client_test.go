package node

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"polynode/configs"
	"polynode/kernels"
	"polynode/model"
	"polynode/model/demo"
	"polynode/model/store"
	"polynode/model/synth"
)

// The simulated model: as small as a model can be that four ranks can share.
const simModelName = "tiny"

var simModel = model.Config{
	Layers: 4, Heads: simHeads, Embed: 128, Inner: 256, Vocab: 4096, Positions: 256, Activation: model.GELUFast, Epsilon: 1e-5, EOS: 2, TiedHead: true,
}

// simFolder is a folder that is fast: the log is written to the disk with every entry, and a simulation writes many.
func simFolder(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "polynode-sim-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// packed is the simulated model as a library of it, made once.
var packed = sync.OnceValues(func() (map[string][]byte, error) {
	dir, err := os.MkdirTemp("", "polynode-sim-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	donor, err := demo.Open()
	if err != nil {
		return nil, err
	}
	defer donor.Close()
	pieces, err := donor.Tokenizer()
	if err != nil {
		return nil, err
	}
	config := simModel
	config.Pieces = donor.Config().Pieces
	made, err := synth.New(config, 1)
	if err != nil {
		return nil, err
	}
	library, err := OpenLibrary(dir)
	if err != nil {
		return nil, err
	}
	defer library.Close()
	weights := store.WeightsFunc(func(name model.Name) (store.Rows, error) { return made.Tensor(name) })
	spec := store.Spec{Config: config, Format: kernels.Q8, Label: simModelName, Chat: "plain", Synthetic: true, Tokenizer: pieces}
	if _, err := library.Dir.Import(context.Background(), weights, spec, store.Options{Name: simModelName}); err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	err = filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			name, _ := filepath.Rel(dir, path)
			files[name], err = os.ReadFile(path)
		}
		return err
	})
	return files, err
})

// giveModel puts the simulated model onto a disk.
func giveModel(t testing.TB, data string) {
	files, err := packed()
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		path := filepath.Join(data, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// question is a request that simulated clients ask, and the one right answer.
type question struct {
	fields string
	want   [][]int32 // token ids of each choice
}

// simAsked are the fields of the questions.
var simAsked = []string{
	`"prompt": "Alle Menschen sind frei und", "max_tokens": 12, "temperature": 0`,
	`"prompt": "Alle Menschen sind frei und gleich an", "max_tokens": 50, "temperature": 1, "top_k": 20, "seed": 3`,
	`"prompt": "Tous les êtres humains", "max_tokens": 30, "temperature": 0.8, "top_k": 30, "top_p": 0.9, "seed": 4, "n": 3`,
	`"prompt": "All human beings are born free and equal in dignity and rights. They are endowed with reason", "max_tokens": 40, "temperature": 0`,
	`"prompt": "Toda pessoa tem", "max_tokens": 6, "temperature": 1, "seed": 5`,
	`"prompt": "Todos los seres humanos", "max_tokens": 8, "temperature": 0, "num_beams": 3, "n": 2`,
	`"prompt": "Tutti gli esseri umani", "max_tokens": 90, "temperature": 1.2, "top_k": 40, "seed": 9`,
}

// longQuestion is the one with the longest answer.
const longQuestion = 6

// simQuestions are the questions with the answers of one process.
func simQuestions(t *testing.T) []question {
	t.Helper()
	data := simFolder(t)
	giveModel(t, data)
	n := start(t, func(c *configs.Config) { c.Data, c.Model, c.Threads = data, simModelName, 1 })
	client := n.Client()
	defer client.CloseIdleConnections()
	var questions []question
	for _, fields := range simAsked {
		a := ask(t.Context(), client, fields, false)
		if a.err != nil || a.status != http.StatusOK || len(a.ids) == 0 || len(a.ids[0]) == 0 {
			t.Fatalf("the reference gives %+v", a)
		}
		questions = append(questions, question{fields, a.ids})
	}
	return questions
}

// reply is what became of a question.
type reply struct {
	err    error // of the transport
	status int
	code   string // of an error
	text   string // of an error
	ids    [][]int32
	whole  bool // the answer says that it is complete
}

// ask asks a question and reads the answer to its end.
func ask(ctx context.Context, client *http.Client, fields string, stream bool) reply {
	return askWith(ctx, client, fields, stream, nil)
}

// askWith tells a channel when the first piece of a stream has come, if it has room.
func askWith(ctx context.Context, client *http.Client, fields string, stream bool, begun chan<- struct{}) (a reply) {
	body := fmt.Sprintf(`{%s, "ignore_eos": true, "return_token_ids": true, "stream": %v}`, fields, stream)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/v1/completions", strings.NewReader(body))
	if err != nil {
		return reply{err: err}
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return reply{err: err}
	}
	defer response.Body.Close()
	a.status = response.StatusCode
	if !stream || a.status != http.StatusOK {
		text, err := io.ReadAll(response.Body)
		a.err = err
		a.read(text)
		a.whole = a.status == http.StatusOK && err == nil && a.code == ""
		return a
	}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		switch data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: ")); {
		case !ok:
		case string(data) == "[DONE]":
			a.whole = a.code == ""
		default:
			a.read(data)
			select {
			case begun <- struct{}{}:
				begun = nil // once
			default:
			}
		}
	}
	a.err = lines.Err()
	return a
}

// read takes over one answer, or one piece of it.
func (a *reply) read(text []byte) {
	var got struct {
		Choices []struct {
			Index int     `json:"index"`
			IDs   []int32 `json:"token_ids"`
		} `json:"choices"`
		Error *struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := json.Unmarshal(text, &got); err != nil {
		a.code, a.text = "unreadable", string(text)
		return
	}
	if got.Error != nil {
		a.code, a.text = got.Error.Code, got.Error.Message
	}
	for _, c := range got.Choices {
		for len(a.ids) <= c.Index {
			a.ids = append(a.ids, nil)
		}
		a.ids[c.Index] = append(a.ids[c.Index], c.IDs...)
	}
}

// fits reports whether what came is the right answer, or the beginning of it.
func (a *reply) fits(q question) bool {
	if a.whole {
		return slices.EqualFunc(a.ids, q.want, slices.Equal[[]int32])
	}
	if len(a.ids) > len(q.want) {
		return false
	}
	for i, ids := range a.ids {
		if len(ids) > len(q.want[i]) || !slices.Equal(ids, q.want[i][:len(ids)]) {
			return false
		}
	}
	return true
}

// lostCodes are what a client may be told when a coordinator was lost, stopped, or is not there.
var lostCodes = []string{"no_coordinator", "coordinator_lost", "no_plan", "draining", "stopping", "unavailable"}

// answerMax is the longest that a client waits for an answer, in virtual time: whatever happens, it is told before.
const answerMax = 3 * time.Minute

// visit asks a question through some machine and judges what came of it.
func (w *world) visit(ctx context.Context, random *rand.Rand, questions []question, tally *tally) {
	up := w.up()
	if len(up) == 0 {
		return
	}
	at := up[random.IntN(len(up))]
	n := at.running()
	if n == nil {
		return
	}
	number := random.IntN(len(questions))
	q, stream := questions[number], random.IntN(2) == 0
	client := n.Client()
	defer client.CloseIdleConnections()
	patience, cancel := context.WithTimeout(ctx, answerMax)
	defer cancel()
	begun := time.Now()
	a := ask(patience, client, q.fields, stream)
	ended := time.Now()
	what := fmt.Sprintf("question %d through %s, stream %v, from %.3f to %.3f", number, at.name, stream,
		begun.Sub(w.witness.begun).Seconds(), ended.Sub(w.witness.begun).Seconds())
	switch {
	case ended.Sub(begun) >= answerMax:
		w.witness.complain("%s: nobody told the client anything for %v", what, answerMax)
	case !a.fits(q):
		w.witness.complain("%s: got %v, want %v", what, a.ids, q.want)
	case a.whole:
		tally.count("right")
		return
	case !w.excused(at, begun, ended):
		w.witness.complain("%s: lost without a cause: %d %s %s %v", what, a.status, a.code, a.text, a.err)
	case at.running() != n: // the machine that was asked died: anything may break
		tally.count("asked the dead")
	case a.err != nil || !slices.Contains(lostCodes, a.code):
		w.witness.complain("%s: not told clearly: %d %q %s %v", what, a.status, a.code, a.text, a.err)
	default:
		tally.count(a.code)
	}
	w.event("%s: %d %s %s %v", what, a.status, a.code, a.text, a.err)
}

// tally counts what became of requests.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
}

func (c *tally) count(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = map[string]int{}
	}
	c.counts[what]++
}
