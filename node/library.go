package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"polynode/api"
	"polynode/configs"
	"polynode/kernels"
	"polynode/model"
	"polynode/model/checkpoint"
	"polynode/model/demo"
	"polynode/model/store"
	"polynode/model/synth"
	"polynode/tokenizer"
)

// tokenizerMax bounds a tokenizer file that is read for an import.
const tokenizerMax = 64 << 20

// What the library's methods give and take, under one roof for the verbs.
type (
	PackedModel    = store.Model
	LibraryEntry   = store.Entry
	ImportReport   = store.Report
	ImportProgress = store.Progress
)

// Library is the folder of packed models of a node. It is safe for concurrent use, by several processes too.
type Library struct{ *store.Dir }

// OpenLibrary opens the models in a data folder, which it makes if it has to.
func OpenLibrary(data string) (Library, error) {
	dir, err := store.OpenDir(filepath.Join(data, "models"))
	return Library{dir}, err
}

// ImportOptions say how weights become a packed model.
type ImportOptions struct {
	Name     string // in the library
	Format   kernels.Format
	Replace  bool
	EOS      int            // token that ends a text; -1 is the usual one
	Chat     string         // prompt format of conversations; empty is what the folder's name or the preset says
	Found    func([]string) // told what was found in the checkpoint, before anything is written
	Progress func(store.Progress)
}

// Import packs a published checkpoint into the library.
func (l Library) Import(ctx context.Context, folder string, options ImportOptions) (store.Report, error) {
	source, err := checkpoint.Open(folder)
	if err != nil {
		return store.Report{}, err
	}
	defer source.Close()
	var pieces []byte
	chat, err := chatFormat(options.Chat, source.ChatHint())
	if err != nil {
		return store.Report{}, err
	}
	findings := append(source.Findings(), "conversations are written in the format "+chat)
	if path := source.TokenizerPath(); path != "" {
		var found string
		if pieces, found, err = readTokenizer(source, path); err != nil {
			return store.Report{}, err
		}
		findings = append(findings, found)
	}
	config, err := withEOS(source.Config(), options.EOS)
	if err != nil {
		return store.Report{}, err
	}
	if pieces == nil {
		findings = append(findings, "no tokenizer.model: the packed model will take and give token ids only")
	}
	if options.Found != nil {
		options.Found(findings)
	}
	weights := store.WeightsFunc(func(name model.Name) (store.Rows, error) { return source.Tensor(name) })
	return l.Dir.Import(ctx, weights, store.Spec{
		Config: config, Format: options.Format, Label: options.Name, Chat: chat,
		Provenance: store.Provenance{Source: "checkpoint", Notes: findings},
		Tokenizer:  pieces,
	}, store.Options{Name: options.Name, Replace: options.Replace, Progress: options.Progress})
}

// readTokenizer reads the checkpoint's tokenizer and tells the checkpoint how many pieces it has. found is what a person
// should know of it.
func readTokenizer(source *checkpoint.Checkpoint, path string) (data []byte, found string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, "", fmt.Errorf("read tokenizer: %w", err)
	}
	defer file.Close()
	data, err = io.ReadAll(io.LimitReader(file, tokenizerMax+1))
	if err != nil {
		return nil, "", fmt.Errorf("read tokenizer: %w", err)
	}
	if len(data) > tokenizerMax {
		return nil, "", fmt.Errorf("read tokenizer %s: larger than %s", path, configs.Bytes(tokenizerMax))
	}
	tok, err := tokenizer.Parse(data)
	if err != nil {
		return nil, "", fmt.Errorf("parse tokenizer %s: %w", path, err)
	}
	found = fmt.Sprintf("the tokenizer is a SentencePiece %s model of %d pieces", tok.Kind(), tok.Size())
	if more := source.Config().Vocab - tok.Size(); more > 0 {
		found += fmt.Sprintf("; the last %d rows of the vocabulary have no piece and are never chosen", more)
	}
	return data, found, source.SetPieces(tok.Size())
}

// Synthesise makes a model of a preset's exact shape with seeded random weights. It borrows the demo model's
// tokenizer, so that its text can be shown, though it means nothing; rows of the vocabulary beyond that are masked.
func (l Library) Synthesise(ctx context.Context, preset configs.Preset, seed uint64, options ImportOptions) (store.Report, error) {
	donor, err := demo.Open()
	if err != nil {
		return store.Report{}, err
	}
	defer donor.Close()
	pieces, err := donor.Tokenizer()
	if err != nil {
		return store.Report{}, err
	}
	config, err := withEOS(presetConfig(preset, donor.Config().Pieces), options.EOS)
	if err != nil {
		return store.Report{}, err
	}
	chat, err := chatFormat(options.Chat, preset.Chat)
	if err != nil {
		return store.Report{}, err
	}
	made, err := synth.New(config, seed)
	if err != nil {
		return store.Report{}, err
	}
	weights := store.WeightsFunc(func(name model.Name) (store.Rows, error) { return made.Tensor(name) })
	return l.Dir.Import(ctx, weights, store.Spec{
		Config: config, Format: options.Format, Label: options.Name, Chat: chat, Synthetic: true,
		Provenance: store.Provenance{Source: "preset " + preset.Name, Seed: seed},
		Tokenizer:  pieces,
	}, store.Options{Name: options.Name, Replace: options.Replace, Progress: options.Progress})
}

func presetConfig(p configs.Preset, pieces int) model.Config {
	return model.Config{
		Layers: p.Layers, Heads: p.Heads, Embed: p.Embed, Inner: p.Inner, Vocab: p.Vocab, Pieces: pieces, Positions: p.Positions,
		Activation: model.Activation(p.Activation), Epsilon: p.Epsilon, EOS: p.EOS, TiedHead: true,
	}
}

// chatFormat is the wanted format, or the usual one of the model.
func chatFormat(wanted, usual string) (string, error) {
	if wanted == "" {
		wanted = usual
	}
	format, err := api.ParseChatFormat(wanted)
	return string(format), err
}

func withEOS(config model.Config, eos int) (model.Config, error) {
	if eos >= 0 && eos <= math.MaxInt32 {
		config.EOS = int32(eos)
	}
	return config, config.Validate()
}

// openModel opens the model that the settings name.
func openModel(config configs.Config) (*store.Model, string, error) {
	if config.Model == "" {
		m, err := demo.Open()
		return m, demo.Name, err
	}
	library, err := OpenLibrary(config.Data)
	if err != nil {
		return nil, "", err
	}
	defer library.Close()
	m, err := library.Open(config.Model)
	if errors.Is(err, store.ErrNotFound) {
		return nil, "", fmt.Errorf("%w; `polynode model ls` lists the models in %s, `polynode model import` adds one", err, config.Data)
	}
	return m, config.Model, err
}

// OpenTokenizer opens the tokenizer of the model that the settings name.
func OpenTokenizer(config configs.Config) (*tokenizer.SentencePiece, error) {
	m, name, err := openModel(config)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	return modelTokenizer(m, name)
}

func modelTokenizer(m *store.Model, name string) (*tokenizer.SentencePiece, error) {
	data, err := m.Tokenizer()
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, fmt.Errorf("model %s has no tokenizer: import it again from a folder with tokenizer.model", name)
	}
	tok, err := tokenizer.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("parse tokenizer of %s: %w", name, err)
	}
	return tok, nil
}
