package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// polynode runs one command line with its own data folder and returns what it printed.
func polynode(t *testing.T, data, stdin string, args ...string) (string, error) {
	t.Helper()
	t.Setenv("POLYNODE_DATA", data)
	root := newRoot()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetIn(strings.NewReader(stdin))
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestEveryVerbExplainsItself(t *testing.T) {
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			if sub.Name() == "help" || sub.Name() == "completion" || sub.Hidden {
				continue
			}
			if sub.Short == "" || sub.Example == "" {
				t.Errorf("%s has no description or no example", sub.CommandPath())
			}
			check(sub)
		}
	}
	check(newRoot())
}

func TestMistakesAreNamed(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"generate"}, "one prompt"},
		{[]string{"generate", "x", "--num-beems", "4"}, "num-beems"},
		{[]string{"up", "--http", "nowhere"}, "nowhere"},
		{[]string{"up", "--http", "0.0.0.0:0"}, "api-key"},
		{[]string{"up", "--model", "absent"}, "polynode model ls"},
		{[]string{"model", "import"}, "--synthetic"},
		{[]string{"modle"}, "(model?)"},
		{[]string{"model", "imprt"}, "(import?)"},
		{[]string{"generate", "x", "--num-beams", "0"}, "num_beams"},
		{[]string{"model", "import", "x", "--quant", "q3"}, "q3"},
		{[]string{"model", "import", "--synthetic", "gpt-5"}, "polylm-13b"},
		{[]string{"model", "import", "no-such-folder"}, "no-such-folder"},
		{[]string{"model", "show", "absent"}, "absent"},
		{[]string{"detokenize", "99999999"}, "99999999"},
		{[]string{"detokenize", "twelve"}, "twelve"},
		{[]string{"bench", "--batch", "0"}, "--batch"},
		{[]string{"tokenize", "--tokenizer", "main.go", "x"}, "main.go"},
	} {
		_, err := polynode(t, t.TempDir(), "", c.args...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("polynode %s: error %v, want one that says %q", strings.Join(c.args, " "), err, c.want)
		}
	}
	for _, args := range [][]string{{"generate"}, {"serve"}, {"model", "imprt"}, {"up", "--bogus"}} {
		if code := run(t.Context(), args); code != exitUsage {
			t.Errorf("polynode %s exits with %d", strings.Join(args, " "), code)
		}
	}
}

func TestTokenizeAndBack(t *testing.T) {
	data := t.TempDir()
	text := "Alle Menschen sind frei. 人人生而自由 🙂"
	ids, err := polynode(t, data, text, "tokenize")
	if err != nil {
		t.Fatal(err)
	}
	back, err := polynode(t, data, ids, "detokenize")
	if err != nil || back != text+"\n" {
		t.Errorf("got %q, %v", back, err)
	}
	lines := "\"one line\"\n\"\"\n\"zwei \\n Zeilen\"\n"
	arrays, err := polynode(t, data, lines, "tokenize", "--jsonl")
	if err != nil {
		t.Fatal(err)
	}
	again, err := polynode(t, data, arrays, "detokenize", "--jsonl")
	if err != nil || again != lines {
		t.Errorf("got %q, %v", again, err)
	}
	if _, err := polynode(t, data, "not json\n", "tokenize", "--jsonl"); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("bad line: %v", err)
	}
}

// reference is what PyTorch generated with the demo model.
type reference struct {
	Prompts []struct {
		Lang, Prompt, Text string
		Ids                []int32 `json:"greedy_ids"`
	}
}

func readReference(t *testing.T) reference {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "model", "demo", "checkpoint", "reference.json"))
	if err != nil {
		t.Fatal(err)
	}
	var ref reference
	if err := json.Unmarshal(data, &ref); err != nil {
		t.Fatal(err)
	}
	if len(ref.Prompts) != 18 {
		t.Fatalf("reference has %d languages, want 18", len(ref.Prompts))
	}
	return ref
}

// The embedded model continues the declaration in each of its languages as PyTorch did, to the end-of-text token.
func TestGenerateContinuesTheDeclaration(t *testing.T) {
	server := startServer(t)
	for _, p := range readReference(t).Prompts {
		if testing.Short() && p.Lang != "de" && p.Lang != "th" {
			continue // all 18 take a minute under the race detector
		}
		got, err := polynode(t, t.TempDir(), "", "generate", "--url", server, "--max-tokens", "48", p.Prompt)
		if err != nil {
			t.Fatal(err)
		}
		if got != p.Text+"\n" {
			t.Errorf("%s: got %q, want %q", p.Lang, got, p.Text)
		}
	}
}

func TestGenerateInProcess(t *testing.T) {
	got, err := polynode(t, t.TempDir(), "", "generate", "Alle Menschen sind frei und")
	if err != nil {
		t.Fatal(err)
	}
	if want := "Alle Menschen sind frei und gleich an Würde und Rechten geboren."; !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	beams, err := polynode(t, t.TempDir(), "", "generate", "--num-beams", "4", "--early-stopping", "Alle Menschen sind frei und")
	if err != nil || beams != got {
		t.Errorf("the beams of a model this sure of itself found %q, %v", beams, err)
	}
}

func TestChatAnswersPlainInput(t *testing.T) {
	server := startServer(t)
	talk := &conversation{
		client: &client{http: http.DefaultClient, base: server},
		in:     plainLines{newReader("/system be brief\nAlle Menschen sind \\\nfrei und\n/history\n/nothing\n")},
		out:    new(bytes.Buffer),
	}
	talk.request.MaxTokens = new(5)
	if err := talk.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	out := talk.out.(*bytes.Buffer).String()
	for _, want := range []string{"system: be brief", "user: Alle Menschen sind \nfrei und", "assistant:", "no /nothing"} {
		if !strings.Contains(out, want) {
			t.Errorf("output lacks %q:\n%s", want, out)
		}
	}
}

var address = regexp.MustCompile(`http://127\.0\.0\.1:\d+`)

// startServer runs `polynode up` on a free port until the test ends.
func startServer(t *testing.T, args ...string) string {
	t.Helper()
	t.Setenv("POLYNODE_DATA", t.TempDir())
	server := startVerb(t, append([]string{"up"}, args...)...)
	return server.url
}

// freeUDP is an address for other nodes that nobody has.
func freeUDP(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.LocalAddr().String()
}

// running is a verb that serves.
type running struct {
	url   string
	out   *watched
	stop  func()
	ended chan struct{} // closed when it has ended
}

// startVerb runs a verb that serves HTTP on a free port until the test ends or it ends itself.
func startVerb(t *testing.T, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out := &watched{match: address, found: make(chan string, 1)}
	root := newRoot()
	root.SetOut(out)
	root.SetArgs(append(args, "--http", "127.0.0.1:0", "--listen", freeUDP(t), "--log-level", "warn"))
	ended := make(chan struct{})
	var failed error
	go func() {
		failed = root.ExecuteContext(ctx)
		close(ended)
	}()
	t.Cleanup(func() {
		cancel()
		if <-ended; failed != nil {
			t.Errorf("%s ended with %v", args[0], failed)
		}
	})
	select {
	case url := <-out.found:
		return &running{url, out, cancel, ended}
	case <-ended:
		t.Fatalf("%s ended at once: %v", args[0], failed)
	case <-time.After(time.Minute):
		t.Fatalf("%s printed no address within a minute", args[0])
	}
	return nil
}

// watched looks for a pattern in what is written to it.
type watched struct {
	mu    sync.Mutex
	text  bytes.Buffer
	match *regexp.Regexp
	found chan string // the first match
	told  bool
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.text.Write(p)
	if hit := w.match.FindString(w.text.String()); hit != "" && !w.told {
		w.found <- hit
		w.told = true
	}
	return n, err
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

func TestUpGreets(t *testing.T) {
	server := startServer(t)
	response, err := http.Get(server + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("ready: %s", response.Status)
	}
	if _, err := polynode(t, t.TempDir(), "", "generate", "--url", server, "--temperature", "-1", "x"); !errors.Is(err, errAPI) || !strings.Contains(err.Error(), "temperature") {
		t.Errorf("bad temperature: %v", err)
	}
}

func TestModelLifecycle(t *testing.T) {
	data, folder := t.TempDir(), filepath.Join("..", "..", "model", "demo", "checkpoint")
	out, err := polynode(t, data, "", "model", "import", folder, "--name", "udhr", "--quant", "q4")
	if err != nil || !strings.Contains(out, "mlp.c_proj") || !strings.Contains(out, "sha256") {
		t.Fatalf("import: %v\n%s", err, out)
	}
	if _, err := polynode(t, data, "", "model", "import", folder, "--name", "udhr"); err == nil {
		t.Error("a second model took the name without --replace")
	}
	list, err := polynode(t, data, "", "model", "ls", "--json")
	var models []modelLine
	if err != nil || json.Unmarshal([]byte(list), &models) != nil || len(models) != 1 || models[0].Format != "q4" {
		t.Errorf("list: %v\n%s", err, list)
	}
	if out, err := polynode(t, data, "", "model", "verify", "udhr"); err != nil || !strings.Contains(out, "every byte") {
		t.Errorf("verify: %v\n%s", err, out)
	}
	if out, err := polynode(t, data, "", "generate", "--model", "udhr", "Alle Menschen sind frei und"); err != nil || !strings.Contains(out, "gleich an Würde") {
		t.Errorf("generate: %v\n%s", err, out)
	}
	if _, err := polynode(t, data, "", "model", "rm", "udhr"); err != nil {
		t.Error(err)
	}
	if list, _ := polynode(t, data, "", "model", "ls", "--json"); strings.TrimSpace(list) != "[]" {
		t.Errorf("after rm: %s", list)
	}
}

func newReader(text string) *bufio.Reader { return bufio.NewReader(strings.NewReader(text)) }
