package configs

import "strings"

// Setting is one field of a Config with its name and help.
type Setting struct {
	Name   string // of the flag and of the key in the file
	Help   string
	Value  Value
	Secret bool // not to be shown
}

// Env is the environment variable of the setting.
func (s Setting) Env() string {
	return "POLYNODE_" + strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_"))
}

// Settings lists every setting of c, bound to it: setting a value changes c.
func (c *Config) Settings() []Setting {
	return []Setting{
		{Name: "data", Help: "folder of models and node state", Value: stringValue{&c.Data}},
		{Name: "model", Help: "model to serve, by its name in the store; empty is the demo model in the binary", Value: stringValue{&c.Model}},
		{Name: "name", Help: "what this node is called", Value: stringValue{&c.Name}},
		{Name: "http", Help: "address of the HTTP endpoint", Value: stringValue{&c.HTTP}},
		{Name: "listen", Help: "UDP address for other nodes; an empty one makes a node that nobody can join", Value: stringValue{&c.Listen}},
		{Name: "api-key", Help: "keys that requests may bear, separated by commas", Value: listValue{&c.APIKeys}, Secret: true},
		{Name: "insecure-no-auth", Help: "serve other machines without a key", Value: boolValue{&c.NoAuth}},
		{Name: "hosts", Help: "names that the endpoint answers to without a key, besides addresses and localhost", Value: listValue{&c.Hosts}},
		{Name: "origins", Help: "web origins whose pages may call the endpoint, separated by commas", Value: listValue{&c.Origins}},
		{Name: "drain", Help: "how long running requests may take to end at shutdown", Value: durationValue{&c.Drain}},
		{Name: "threads", Help: "computing threads; auto is one for each physical core that this process may use", Value: autoIntValue{&c.Threads}},
		{Name: "network-threads", Help: "threads besides the computing ones, for the network, agreement and HTTP", Value: intValue{&c.NetworkThreads}},
		{Name: "lock-weights", Help: "keep the weights in memory once they were read", Value: boolValue{&c.LockWeights}},
		{Name: "kv-format", Help: "how keys and values are kept: f16, q8 (half the memory) or f32 (twice)", Value: stringValue{&c.KVFormat}},
		{Name: "kv-memory", Help: "memory for keys and values, such as 8GiB; auto takes most of what is free", Value: bytesValue{&c.KVMemory}},
		{Name: "step-tokens", Help: "tokens in one step, prompts and decoding together", Value: intValue{&c.StepTokens}},
		{Name: "step-time", Help: "prompts are cut so that a step takes about this long at most; 0 cuts by step-tokens alone", Value: durationValue{&c.StepTime}},
		{Name: "sequences", Help: "sequences that decode together", Value: intValue{&c.Sequences}},
		{Name: "queue", Help: "requests that may wait", Value: intValue{&c.Queue}},
		{Name: "queue-tokens", Help: "prompt tokens that may wait", Value: intValue{&c.QueueTokens}},
		{Name: "first-token-timeout", Help: "how long a request may wait for its first token before it gets 503", Value: durationValue{&c.FirstToken}},
		{Name: "answer-timeout", Help: "how long a whole answer may take", Value: durationValue{&c.Answer}},
		{Name: "eos", Help: "token that ends a text; -1 is what the model says", Value: intValue{&c.EOS}},
		{Name: "log-level", Help: "debug, info, warn or error", Value: stringValue{&c.LogLevel}},
		{Name: "log-format", Help: "text or json", Value: stringValue{&c.LogFormat}},
	}
}
