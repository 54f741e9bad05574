package configs

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// ErrInvalid reports a setting that cannot be used.
var ErrInvalid = errors.New("invalid setting")

// Config is every setting of a node. Make one with Default; Validate reports all that is wrong with it.
type Config struct {
	Data   string // folder of models and node state
	Model  string // name of a model in the store; empty is the embedded demo model
	Name   string // what other people see this node called
	HTTP   string // address of the HTTP endpoint
	Listen string // UDP address for other nodes; empty is a node that nobody can join

	Version string // of the program; no setting

	APIKeys  []string // accepted bearer keys; none means no check
	NoAuth   bool     // allow an address other than loopback without keys
	Hosts    []string // names besides this machine's own that requests without a key may use
	Origins  []string // pages elsewhere that may call the endpoint from a browser
	Drain    time.Duration
	Threads  int // computing threads; 0 is as many as this process may use physical cores
	KVFormat string
	KVMemory Bytes // of all ranks on this node; 0 measures what is free

	NetworkThreads int  // beside the computing ones
	LockWeights    bool // keep weights in memory that were read

	StepTokens  int           // token budget of a step
	StepTime    time.Duration // that a step should take at most
	Sequences   int           // sequences that decode together
	Queue       int           // requests that wait
	QueueTokens int           // prompt tokens that wait

	FirstToken time.Duration // that a request may wait for its first token
	Answer     time.Duration // that a whole answer may take

	EOS int // token that ends a text; -1 is what the model says

	LogLevel  string
	LogFormat string
}

// Default is a node on this machine that nobody else can reach.
func Default() Config {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "node"
	}
	return Config{
		Data:     defaultData(),
		Name:     host,
		HTTP:     "127.0.0.1:8080",
		Listen:   ":7946",
		Version:  "dev",
		Drain:    20 * time.Second,
		KVFormat: "f16",

		NetworkThreads: 2,

		StepTokens:  256,
		StepTime:    time.Second,
		Sequences:   32,
		Queue:       256,
		QueueTokens: 1 << 17,
		FirstToken:  time.Hour,
		Answer:      24 * time.Hour,
		EOS:         -1,
		LogLevel:    "info",
		LogFormat:   "text",
	}
}

func defaultData() string {
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "polynode")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "share", "polynode")
	}
	return "polynode-data"
}

// Limits of single settings.
const (
	ThreadsMax    = 1024 // of either kind
	StepTokensMax = 1 << 14
	SequencesMax  = 1 << 10
	QueueMax      = 1 << 16
	TimeoutMax    = 7 * 24 * time.Hour
)

// Validate reports everything that is wrong at once; each error wraps ErrInvalid and names the setting.
func (c *Config) Validate() error {
	var errs []error
	wrong := func(name, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: %s: %s", ErrInvalid, name, fmt.Sprintf(format, args...)))
	}
	within := func(name string, value, low, high int) {
		if value < low || value > high {
			wrong(name, "%d is not between %d and %d", value, low, high)
		}
	}
	oneOf := func(name, value string, known ...string) {
		for _, k := range known {
			if value == k {
				return
			}
		}
		wrong(name, "%q is not one of %s", value, strings.Join(known, ", "))
	}
	if c.Data == "" {
		wrong("data", "is empty")
	}
	if c.Name == "" || len(c.Name) > 63 {
		wrong("name", "must be 1 to 63 bytes long")
	}
	if err := checkAddress(c.HTTP); err != nil {
		wrong("http", "%v", err)
	} else if !loopback(c.HTTP) && len(c.APIKeys) == 0 && !c.NoAuth {
		wrong("http", "%s can be reached from other machines: give an api-key, or insecure-no-auth if that is what you want", c.HTTP)
	}
	if err := checkAddress(c.Listen); err != nil && c.Listen != "" {
		wrong("listen", "%v", err)
	}
	for i, key := range c.APIKeys {
		if len(key) < 8 {
			wrong("api-key", "key %d is shorter than 8 bytes", i+1)
		}
	}
	if c.Drain < 0 || c.Drain > time.Hour {
		wrong("drain", "%v is not between 0 and 1h", c.Drain)
	}
	if c.StepTime < 0 || c.StepTime > time.Hour {
		wrong("step-time", "%v is not between 0 and 1h", c.StepTime)
	}
	for name, limit := range map[string]time.Duration{"first-token-timeout": c.FirstToken, "answer-timeout": c.Answer} {
		if limit < time.Second || limit > TimeoutMax {
			wrong(name, "%v is not between 1s and %v", limit, TimeoutMax)
		}
	}
	within("threads", c.Threads, 0, ThreadsMax)
	within("network-threads", c.NetworkThreads, 1, ThreadsMax)
	oneOf("kv-format", c.KVFormat, "f16", "q8", "f32")
	within("step-tokens", c.StepTokens, 1, StepTokensMax)
	within("sequences", c.Sequences, 1, SequencesMax)
	within("queue", c.Queue, 1, QueueMax)
	within("queue-tokens", c.QueueTokens, 1, 1<<30)
	if c.StepTokens < c.Sequences {
		wrong("step-tokens", "%d is less than sequences (%d): a step could not hold one token of each", c.StepTokens, c.Sequences)
	}
	within("eos", c.EOS, -1, 1<<21)
	oneOf("log-level", c.LogLevel, "debug", "info", "warn", "error")
	oneOf("log-format", c.LogFormat, "text", "json")
	return errors.Join(errs...)
}

func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is not host:port", address)
	}
	if _, err := net.LookupPort("udp", port); err != nil {
		return fmt.Errorf("%q has no valid port", address)
	}
	if host != "" && host != "localhost" && net.ParseIP(host) == nil {
		return fmt.Errorf("%q must name an IP address of this machine, localhost, or nothing for all addresses", address)
	}
	return nil
}

// loopback reports whether only this machine can reach the address.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
