package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"polynode/model"
)

const configFile = "config.json"

// Defaults that transformers' GPT2Config gives to fields that a config.json leaves out.
const (
	defaultEpsilon    = 1e-5
	defaultActivation = "gelu_new"
)

// eosPiece is what PolyLM's texts end with: </s>. The published configs say vocab_size-1,
// which their converter made up.
const eosPiece = 2

// hfConfig is what config.json says, checked for everything that we cannot run.
type hfConfig struct {
	architecture string
	name         string // _name_or_path
	layers       int
	heads        int
	embed        int
	inner        int
	vocab        int // 0 where it is not said
	positions    int // 0 where it is not said
	epsilon      float64
	activation   model.Activation
	tied         *bool // tie_word_embeddings, where it is said
	eos          []int64
	notes        []string
}

// architectures that are the GPT-2 network. GPT2Model is the same without a head of its own.
var architectures = []string{"PolyLMHeadModel", "GPT2LMHeadModel", "GPT2Model"}

// activations by their names in transformers.
var activations = map[string]model.Activation{
	"gelu_fast":         model.GELUFast,
	"gelu_new":          model.GELUNew,
	"gelu_pytorch_tanh": model.GELUNew,
	"gelu":              model.GELUErf,
}

// neutral lists the fields that change the network, each with the only value that means
// what we compute. Absent and null mean that value, too.
var neutral = []struct {
	field string
	want  string // JSON
	why   string
}{
	{"scale_attn_weights", "true", "attention scores that are not divided by the square root of the head width"},
	{"scale_attn_by_inverse_layer_idx", "false", "attention scores that are divided by the layer number"},
	{"add_cross_attention", "false", "cross-attention"},
	{"is_encoder_decoder", "false", "an encoder"},
	{"pruned_heads", "{}", "pruned attention heads"},
	{"quantization_config", "null", "weights that another program has quantised"},
}

// readConfig reads config.json.
func readConfig(dir string) (*hfConfig, error) {
	text, err := readSmall(dir, configFile, configBytesMax)
	if err != nil {
		return nil, err
	}
	config, err := parseConfig(text)
	return config, inFile(configFile, err)
}

// readSmall reads a regular file of the folder that may have at most limit bytes.
func readSmall(dir, name string, limit int64) ([]byte, error) {
	path := filepath.Join(dir, name)
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w: the file is missing", name, ErrFolder)
	}
	if err != nil {
		return nil, inFile(name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w: not a regular file", name, ErrFolder)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, inFile(name, err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, inFile(name, err)
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%s: %w: more than %d bytes", name, ErrLimit, limit)
	}
	if len(text) == 0 {
		return nil, fmt.Errorf("%s: %w: the file is empty", name, ErrFormat)
	}
	return text, nil
}

// parseConfig reads the text of a config.json. Errors wrap ErrConfig, ErrUnsupported or
// ErrFormat and name the field.
func parseConfig(text []byte) (*hfConfig, error) {
	fields := fieldSet{}
	err := eachField(text, func(name string, value json.RawMessage) error {
		fields[name] = value
		return nil
	})
	if err != nil {
		return nil, err
	}
	config := &hfConfig{epsilon: defaultEpsilon}
	steps := []func(fieldSet) error{
		config.readArchitecture, config.checkNeutral, config.readSizes, config.readMaths, config.readRest,
	}
	for _, step := range steps {
		if err := step(fields); err != nil {
			return nil, err
		}
	}
	return config, nil
}

// readArchitecture accepts the networks that we know.
func (c *hfConfig) readArchitecture(fields fieldSet) error {
	var names []string
	if _, err := fields.get("architectures", &names); err != nil {
		return err
	}
	for _, name := range names {
		if !slices.Contains(architectures, name) {
			return fmt.Errorf("architectures: %w: %s, want one of %s", ErrUnsupported, show(name), strings.Join(architectures, ", "))
		}
		c.architecture = name
	}
	var kind string
	said, err := fields.get("model_type", &kind)
	if err != nil {
		return err
	}
	if said && kind != "gpt2" && kind != "polylm" {
		return fmt.Errorf("model_type: %w: %s, want gpt2", ErrUnsupported, show(kind))
	}
	if c.architecture == "" {
		if !said {
			return fmt.Errorf("architectures: %w: neither it nor model_type says what network this is", ErrConfig)
		}
		c.architecture = "GPT2LMHeadModel"
		c.note("config.json names no architecture; its model_type is %s", kind)
	}
	return nil
}

// checkNeutral refuses variants of the network that we would silently compute wrongly.
func (c *hfConfig) checkNeutral(fields fieldSet) error {
	for _, rule := range neutral {
		value := strings.Join(strings.Fields(string(fields[rule.field])), "")
		if value != "" && value != "null" && value != rule.want {
			return fmt.Errorf("%s: %w: %s means %s", rule.field, ErrUnsupported, show(value), rule.why)
		}
	}
	return nil
}

// readSizes reads the dimensions of the network.
func (c *hfConfig) readSizes(fields fieldSet) error {
	var contexts int
	sizes := []struct {
		field    string
		target   *int
		required bool
		limit    int
	}{
		{"n_layer", &c.layers, true, model.LayersMax},
		{"n_head", &c.heads, true, model.EmbedMax},
		{"n_embd", &c.embed, true, model.EmbedMax},
		{"n_inner", &c.inner, false, model.InnerMax},
		{"vocab_size", &c.vocab, false, model.VocabMax},
		{"n_positions", &c.positions, false, model.PositionsMax},
		{"n_ctx", &contexts, false, model.PositionsMax},
	}
	for _, size := range sizes {
		said, err := fields.get(size.field, size.target)
		if err != nil {
			return err
		}
		if !said && size.required {
			return fmt.Errorf("%s: %w: missing", size.field, ErrConfig)
		}
		if said && (*size.target < 1 || *size.target > size.limit) {
			return fmt.Errorf("%s: %w: %d, want 1 to %d", size.field, ErrConfig, *size.target, size.limit)
		}
	}
	if c.embed%c.heads != 0 {
		return fmt.Errorf("n_head: %w: n_embd %d is not a multiple of %d heads", ErrConfig, c.embed, c.heads)
	}
	if c.inner == 0 {
		c.inner = 4 * c.embed
	}
	if c.positions == 0 {
		c.positions = contexts
	}
	if contexts != 0 && contexts != c.positions {
		c.note("config.json says n_ctx %d beside n_positions %d; n_positions counts", contexts, c.positions)
	}
	return nil
}

// readMaths reads what the network computes with.
func (c *hfConfig) readMaths(fields fieldSet) error {
	said, err := fields.get("layer_norm_epsilon", &c.epsilon)
	if err != nil {
		return err
	}
	if !said {
		c.note("config.json has no layer_norm_epsilon; GPT-2's %g counts", defaultEpsilon)
	}
	// Below the smallest float32 the value would vanish, and a constant row divide by zero.
	if !(float32(c.epsilon) > 0 && c.epsilon < 1) {
		return fmt.Errorf("layer_norm_epsilon: %w: %g, want between 0 and 1", ErrConfig, c.epsilon)
	}
	name := defaultActivation
	if said, err = fields.get("activation_function", &name); err != nil {
		return err
	}
	if !said {
		c.note("config.json has no activation_function; GPT-2's %s counts", defaultActivation)
	}
	var known bool
	if c.activation, known = activations[name]; !known {
		return fmt.Errorf("activation_function: %w: %s, want gelu_fast, gelu_new, gelu_pytorch_tanh or gelu", ErrUnsupported, show(name))
	}
	return nil
}

// readRest reads what is neither size nor maths.
func (c *hfConfig) readRest(fields fieldSet) error {
	if _, err := fields.get("_name_or_path", &c.name); err != nil {
		return err
	}
	var tied bool
	said, err := fields.get("tie_word_embeddings", &tied)
	if err != nil {
		return err
	}
	if said {
		c.tied = &tied
	}
	// eos_token_id may be a number or a list of numbers; it is only reported.
	var one int64
	if said, err = fields.get("eos_token_id", &one); said && err == nil {
		c.eos = []int64{one}
		return nil
	}
	if err != nil {
		_, err = fields.get("eos_token_id", &c.eos)
	}
	return err
}

func (c *hfConfig) note(format string, args ...any) {
	c.notes = append(c.notes, fmt.Sprintf(format, args...))
}

// fieldSet holds the members of a JSON object, unparsed.
type fieldSet map[string]json.RawMessage

// get parses a field into target; said is false where it is absent or null.
func (f fieldSet) get(name string, target any) (said bool, err error) {
	raw, ok := f[name]
	if !ok || string(raw) == "null" {
		return false, nil
	}
	if err := json.Unmarshal(raw, target); err != nil {
		return false, fmt.Errorf("%s: %w: %s", name, ErrConfig, err.Error())
	}
	return true, nil
}
