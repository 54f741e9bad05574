package configs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func noEnv(string) (string, bool) { return "", false }

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "polynode.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFlagWinsOverEnvironmentOverFileOverDefault(t *testing.T) {
	path := write(t, "http: 127.0.0.1:1\nmodel: file\nqueue: 7\ndrain: 3s\napi-key: [file-key-1, file-key-2]\n")
	env := map[string]string{"POLYNODE_HTTP": "127.0.0.1:2", "POLYNODE_MODEL": "env", "POLYNODE_KV_MEMORY": "2GiB"}
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	c, err := Load(path, lookup, map[string]string{"http": "127.0.0.1:3"})
	if err != nil {
		t.Fatal(err)
	}
	if c.HTTP != "127.0.0.1:3" || c.Model != "env" || c.Queue != 7 || c.KVMemory != 2<<30 || c.Drain != 3*time.Second {
		t.Errorf("got %+v", c)
	}
	if strings.Join(c.APIKeys, " ") != "file-key-1 file-key-2" {
		t.Errorf("keys %q", c.APIKeys)
	}
	if c.Sequences != Default().Sequences {
		t.Errorf("sequences %d is not the default", c.Sequences)
	}
}

func TestEveryMistakeIsReportedAtOnce(t *testing.T) {
	path := write(t, "quue: 3\nthreads: many\nkv-format: f64\nname: {a: b}\n")
	env := map[string]string{"POLYNODE_QUEUE": "-1"}
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	_, err := Load(path, lookup, map[string]string{"http": "nowhere", "kv-memory": "lots"})
	if !errors.Is(err, ErrInvalid) {
		t.Fatalf("error %v", err)
	}
	for _, part := range []string{`unknown key "quue"`, "line 2", "threads", "kv-format", "name", "queue: -1", "nowhere", "kv-memory"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error does not mention %q:\n%v", part, err)
		}
	}
}

func TestValidate(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"http: 0.0.0.0":         func(c *Config) { c.HTTP = "0.0.0.0:8080" },
		"http: \"x\"":           func(c *Config) { c.HTTP = "x" },
		"http: \"ho":            func(c *Config) { c.HTTP = "host.example:80" },
		"listen":                func(c *Config) { c.Listen = "127.0.0.1:99999" },
		"api-key":               func(c *Config) { c.APIKeys = []string{"short"} },
		"drain":                 func(c *Config) { c.Drain = -1 },
		"threads: -1":           func(c *Config) { c.Threads = -1 },
		"network-thread":        func(c *Config) { c.NetworkThreads = 0 },
		"network-threads: 1025": func(c *Config) { c.NetworkThreads = ThreadsMax + 1 },
		"step-tokens: 4":        func(c *Config) { c.StepTokens = 4 },
		"eos":                   func(c *Config) { c.EOS = -2 },
		"log-level":             func(c *Config) { c.LogLevel = "loud" },
		"first-token-":          func(c *Config) { c.FirstToken = 0 },
		"answer-timeout":        func(c *Config) { c.Answer = TimeoutMax + 1 },
		"data":                  func(c *Config) { c.Data = "" },
		"name":                  func(c *Config) { c.Name = strings.Repeat("n", 64) },
		"threads: 1025":         func(c *Config) { c.Threads = ThreadsMax + 1 },
		"step-tokens: 1":        func(c *Config) { c.StepTokens = StepTokensMax + 1 },
		"sequences: 102":        func(c *Config) { c.Sequences = SequencesMax + 1 },
		"queue: 65537":          func(c *Config) { c.Queue = QueueMax + 1 },
	} {
		c := Default()
		change(&c)
		if err := c.Validate(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	c := Default()
	if err := c.Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	c.HTTP, c.APIKeys = "0.0.0.0:8080", []string{"long-enough-key"}
	if err := c.Validate(); err != nil {
		t.Errorf("open address with a key: %v", err)
	}
}

// The largest values pass, a larger file does not.
func TestLimits(t *testing.T) {
	c := Default()
	c.NetworkThreads = ThreadsMax
	c.Threads, c.StepTokens, c.Sequences, c.Queue = ThreadsMax, StepTokensMax, SequencesMax, QueueMax
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	for size, good := range map[int]bool{FileMax: true, FileMax + 1: false} {
		_, err := Load(write(t, "queue: 7\n#"+strings.Repeat("x", size-len("queue: 7\n#"))), noEnv, nil)
		if good != (err == nil) || !good && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "larger than")) {
			t.Errorf("a file of %d bytes: %v", size, err)
		}
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]Bytes{"0": 0, "12": 12, "1KiB": 1024, "1.5 GiB": 3 << 29, "2GB": 2e9, "7B": 7} {
		if got, err := ParseBytes(text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "GiB", "-1", "1e30TiB", "NaN", "5 bananas"} {
		if _, err := ParseBytes(text); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
	if got := (Bytes(3 << 29)).String(); got != "1.5 GiB" {
		t.Errorf("got %s", got)
	}
}

func TestSettingsRoundTrip(t *testing.T) {
	c := Default()
	for _, s := range c.Settings() {
		if s.Help == "" || s.Name != strings.ToLower(s.Name) {
			t.Errorf("setting %q has no help or is not lower case", s.Name)
		}
		if err := s.Value.Set(s.Value.String()); err != nil {
			t.Errorf("%s does not accept its own default %q: %v", s.Name, s.Value, err)
		}
	}
}

func TestExampleFileIsTheDefault(t *testing.T) {
	c, err := Load("polynode.yaml", noEnv, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	if c.HTTP != want.HTTP || c.Queue != want.Queue || c.StepTokens != want.StepTokens || c.Sequences != want.Sequences || c.Drain != want.Drain ||
		c.Threads != want.Threads || c.NetworkThreads != want.NetworkThreads || c.LockWeights != want.LockWeights {
		t.Errorf("the example says %+v, the default is %+v", c, want)
	}
}

// The parameter counts are those of the published models, a tied head counted once.
func TestPresets(t *testing.T) {
	for name, want := range map[string]int64{"polylm-1.7b": 1737084928, "polylm-13b": 13906790400, "polylm-chat-13b": 13906790400, "polylm-multialpaca-13b": 13906790400} {
		p, err := FindPreset(name)
		if err != nil {
			t.Fatal(err)
		}
		d, n := int64(p.Embed), int64(p.Inner)
		if got := int64(p.Layers)*(4*d*d+4*d+2*d*n+d+n+4*d) + int64(p.Vocab+p.Positions)*d + 2*d; got != want {
			t.Errorf("%s has %d parameters, want %d", name, got, want)
		}
	}
	if _, err := FindPreset("gpt-5"); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "polylm-13b") {
		t.Errorf("unknown preset: %v", err)
	}
}

func FuzzYAML(f *testing.F) {
	f.Add([]byte("http: 127.0.0.1:1\nqueue: 7\napi-key: [a, b]\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("- 1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := Default()
		applyYAML("fuzz", data, c.Settings())
	})
}

func TestThreads(t *testing.T) {
	c := Default()
	if c.Threads != 0 || c.NetworkThreads < 1 {
		t.Errorf("by default %d threads compute and %d are left", c.Threads, c.NetworkThreads)
	}
	for text, want := range map[string]int{"auto": 0, "3": 3} {
		c, err := Load("", noEnv, map[string]string{"threads": text, "network-threads": "5", "lock-weights": "true"})
		if err != nil || c.Threads != want || c.NetworkThreads != 5 || !c.LockWeights {
			t.Errorf("%s: %+v, %v", text, c, err)
		}
	}
}
