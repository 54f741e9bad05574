package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"polynode/model"
)

// tokenizerFile is the SentencePiece model that the published folders carry.
const tokenizerFile = "tokenizer.model"

// Checkpoint is an opened folder of published weights. All methods are safe for concurrent
// use; Close waits for readers.
type Checkpoint struct {
	dir       string
	config    model.Config
	findings  []string
	layout    layout
	tokenizer string
	hint      string
	tensors   map[model.Name]*Tensor
	files     []*weightFile
	resident  residency

	mu     sync.RWMutex // read-held while weights are read
	closed bool         // under mu
}

// Open reads config.json, finds the weight files, parses their headers, names every tensor
// and checks its shape. It reads weights only to compare a head that is stored apart with
// the token embedding. Errors wrap the sentinels of this package or the system's and name
// the file, the tensor or field and the reason.
func Open(dir string) (*Checkpoint, error) {
	c := &Checkpoint{dir: dir, tensors: make(map[model.Name]*Tensor)}
	if err := c.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open checkpoint %s: %w", dir, err), c.Close())
	}
	return c, nil
}

func (c *Checkpoint) open() error {
	if info, err := os.Stat(c.dir); err != nil {
		return err
	} else if !info.IsDir() {
		return fmt.Errorf("%w: not a folder", ErrFolder)
	}
	said, err := readConfig(c.dir)
	if err != nil {
		return err
	}
	found, err := findWeights(c.dir)
	if err != nil {
		return err
	}
	all, err := c.readHeaders(found)
	if err != nil {
		return err
	}
	if err := checkPlaces(all, found.place); err != nil {
		return err
	}
	content, err := nameTensors(all, said.layers)
	if err != nil {
		return err
	}
	if err := c.describe(said, content); err != nil {
		return err
	}
	for _, file := range c.files {
		file.mapWeights()
	}
	verdict, err := c.settleHead(said)
	if err != nil {
		return err
	}
	c.hint = chatHint(c.dir, said.name)
	c.findTokenizer()
	c.report(said, found, content, verdict)
	return nil
}

// readHeaders opens the weight files and lists their tensors.
func (c *Checkpoint) readHeaders(found *weightFiles) ([]*stored, error) {
	var all []*stored
	for _, name := range found.names {
		file, err := openWeightFile(c.dir, name)
		if err != nil {
			return nil, err
		}
		c.files = append(c.files, file)
		var tensors []*stored
		var notes []string
		if found.kind.torch {
			tensors, notes, err = readTorch(file)
		} else {
			tensors, err = readSafetensors(file)
		}
		if err != nil {
			return nil, err
		}
		for _, note := range notes {
			found.notes = append(found.notes, name+": "+note)
		}
		all = append(all, tensors...)
	}
	return all, nil
}

// checkPlaces compares what the files have with what their index promises. A tensor may lie
// in one file only, and where the index says.
func checkPlaces(all []*stored, place map[string]string) error {
	seen := make(map[string]*stored, len(all))
	for _, tensor := range all {
		if other := seen[tensor.name]; other != nil {
			return fmt.Errorf("%s: tensor %s: %w: %s has it, too", tensor.file.name, show(tensor.name), ErrIndex, other.file.name)
		}
		seen[tensor.name] = tensor
	}
	for name, file := range place {
		tensor := seen[name]
		if tensor == nil {
			return fmt.Errorf("%s: tensor %s: %w: the index says that it is in this file, which lacks it", file, show(name), ErrIndex)
		}
		if tensor.file.name != file {
			return fmt.Errorf("%s: tensor %s: %w: the index says that it is in this file, but it is in %s",
				file, show(name), ErrIndex, tensor.file.name)
		}
	}
	return nil
}

// describe settles the configuration and makes the tensors, all but the verdict on the head.
func (c *Checkpoint) describe(said *hfConfig, content *named) error {
	c.config = model.Config{
		Layers: said.layers, Heads: said.heads, Embed: said.embed, Inner: said.inner,
		Vocab: said.vocab, Positions: said.positions,
		Activation: said.activation, Epsilon: float32(said.epsilon), TiedHead: true,
	}
	// Where config.json is silent, the embeddings say how large they are.
	sizes := []struct {
		name   model.Name
		target *int
		limit  int64
	}{
		{model.TokenEmbedding, &c.config.Vocab, model.VocabMax},
		{model.PositionEmbedding, &c.config.Positions, model.PositionsMax},
	}
	for _, size := range sizes {
		tensor := content.tensors[size.name]
		if tensor != nil && *size.target == 0 && len(tensor.shape) == 2 && tensor.shape[0] <= size.limit {
			*size.target = int(tensor.shape[0])
			said.note("config.json does not say how many rows %s has; the weights have %d", size.name, *size.target)
		}
	}
	c.config.Pieces = c.config.Vocab
	c.config.EOS = int32(min(eosPiece, max(c.config.Vocab-1, 0)))
	specs := c.config.Tensors()
	for _, spec := range specs {
		if content.tensors[spec.Name] == nil {
			return fmt.Errorf("tensor %s: %w: none of the weight files has it", spec.Name, ErrMissing)
		}
	}
	if err := c.config.Validate(); err != nil {
		return fmt.Errorf("%s: %w: %w", configFile, ErrConfig, err)
	}
	layout, err := findLayout(&c.config, content.tensors)
	if err != nil {
		return err
	}
	c.layout = layout
	for _, spec := range specs {
		inLayer := spec.Matrix && spec.Name != model.TokenEmbedding
		if err := c.addTensor(spec, content.tensors[spec.Name], inLayer && layout == layoutConv1D); err != nil {
			return err
		}
	}
	if content.head != nil {
		head := model.TensorSpec{Name: model.Head, Rows: c.config.Vocab, Cols: c.config.Embed, Matrix: true}
		return c.addTensor(head, content.head, false)
	}
	return nil
}

// addTensor checks and keeps one tensor.
func (c *Checkpoint) addTensor(spec model.TensorSpec, source *stored, transposed bool) error {
	tensor, err := orient(spec, source, transposed)
	if err != nil {
		return fmt.Errorf("%s: tensor %s: %w", source.file.name, show(source.name), err)
	}
	tensor.owner = c
	c.tensors[spec.Name] = tensor
	return nil
}

// settleHead drops a head that is the token embedding once more and keeps any other.
func (c *Checkpoint) settleHead(said *hfConfig) (headVerdict, error) {
	head := c.tensors[model.Head]
	if head == nil && said.tied != nil && !*said.tied {
		return headAbsent, fmt.Errorf("tensor %s: %w: config.json says tie_word_embeddings false, but none of the weight files has it",
			headName, ErrMissing)
	}
	verdict, err := judgeHead(c.tensors[model.TokenEmbedding], head)
	if err != nil {
		return verdict, err
	}
	if verdict == headOwn {
		c.config.TiedHead = false
	} else {
		delete(c.tensors, model.Head)
	}
	return verdict, nil
}

// findTokenizer notes where the tokenizer's model is, if the folder has one.
func (c *Checkpoint) findTokenizer() {
	path := filepath.Join(c.dir, tokenizerFile)
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		c.tokenizer = path
	}
}

// Config describes the network. Vocab counts the rows of wte, and so does Pieces until
// SetPieces says what the tokenizer has. EOS is 2, </s>, whatever config.json says.
func (c *Checkpoint) Config() model.Config {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.config
}

// SetPieces tells the number of the tokenizer's pieces: the published vocabularies are
// padded, so that it may be smaller than Vocab, but never larger. It wraps ErrRange.
func (c *Checkpoint) SetPieces(pieces int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if pieces < 1 || pieces > c.config.Vocab {
		return fmt.Errorf("set pieces of checkpoint %s: %w: the tokenizer has %d, the embedding %d rows",
			c.dir, ErrRange, pieces, c.config.Vocab)
	}
	c.config.Pieces = pieces
	return nil
}

// Findings tells in sentences what Open found, for a person to read: network, files, number
// formats, layout, head, what was ignored and what is odd.
func (c *Checkpoint) Findings() []string { return slices.Clone(c.findings) }

// TokenizerPath is the path of the folder's tokenizer.model, or "" if it has none.
func (c *Checkpoint) TokenizerPath() string { return c.tokenizer }

// ChatHint guesses from names which prompt format the model was tuned for: "multialpaca",
// "chat", or "plain" for a base model and where nothing tells.
func (c *Checkpoint) ChatHint() string { return c.hint }

// Tensor gives one tensor of the model by its canonical name. It wraps ErrMissing for a
// name that this model does not have: the head of a tied one, for example.
func (c *Checkpoint) Tensor(name model.Name) (*Tensor, error) {
	tensor := c.tensors[name]
	if tensor == nil {
		return nil, fmt.Errorf("find tensor %s: %w: the model has none of that name", name, ErrMissing)
	}
	return tensor, nil
}

// Close waits for reads under way, then gives files and mappings back. Tensors cannot be
// read after it. Closing twice does nothing.
func (c *Checkpoint) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	var errs []error
	for _, file := range c.files {
		errs = append(errs, file.close())
	}
	return errors.Join(errs...)
}
