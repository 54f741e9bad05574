package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"polynode/node"
	"polynode/tokenizer"
)

// lineMax bounds a line of --jsonl input.
const lineMax = 1 << 26

// tokenizerFlags say whose tokenizer to use.
type tokenizerFlags struct {
	file     string
	settings *settingFlags
}

func addTokenizer(cmd *cobra.Command) *tokenizerFlags {
	f := &tokenizerFlags{settings: addSettings(cmd, "model", "data")}
	cmd.Flags().StringVar(&f.file, "tokenizer", "", "a SentencePiece tokenizer.model file, instead of a model's own")
	return f
}

func (f *tokenizerFlags) open() (tokenizer.Tokenizer, error) {
	if f.file != "" {
		data, err := readAtMost(f.file, tokenizer.MaxModelBytes+1) // one byte more, for Parse to refuse
		if err != nil {
			return nil, fmt.Errorf("read tokenizer: %w", err)
		}
		tok, err := tokenizer.Parse(data)
		if err != nil {
			return nil, fmt.Errorf("parse %s: %w", f.file, err)
		}
		return tok, nil
	}
	config, err := f.settings.load()
	if err != nil {
		return nil, err
	}
	return node.OpenTokenizer(config)
}

// readAtMost reads the beginning of a file.
func readAtMost(path string, most int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, most))
}

func newTokenize() *cobra.Command {
	var lines bool
	cmd := &cobra.Command{
		Use:   "tokenize [TEXT]",
		Short: "Turn text into token ids",
		Long: `Turn text into token ids: the argument, or all of standard input. With --jsonl each line of standard input is a JSON
string and each line of output a JSON array of ids.`,
		Example: `  polynode tokenize "Alle Menschen sind frei"
  polynode tokenize --model polylm-13b --jsonl < texts.jsonl > ids.jsonl
  polynode tokenize --tokenizer ~/polylm-13b/tokenizer.model "你好"`,
		Args: atMostOne("one text at most"),
	}
	flags := addTokenizer(cmd)
	cmd.Flags().BoolVar(&lines, "jsonl", false, "a JSON string on each line in, a JSON array of ids on each line out")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		tok, err := flags.open()
		if err != nil {
			return err
		}
		if lines {
			var ids []int32
			return mapLines(cmd.InOrStdin(), cmd.OutOrStdout(), func(line []byte) (any, error) {
				var text *string
				if err := json.Unmarshal(line, &text); err != nil {
					return nil, err
				}
				if text == nil {
					return nil, errors.New("null is no JSON string")
				}
				ids = tok.Append(ids[:0], *text)
				if ids == nil {
					ids = []int32{}
				}
				return ids, nil
			})
		}
		text, err := argumentOrInput(cmd, args)
		if err != nil {
			return err
		}
		for i, id := range tok.Append(nil, text) {
			if i > 0 {
				fmt.Fprint(cmd.OutOrStdout(), " ")
			}
			fmt.Fprint(cmd.OutOrStdout(), id)
		}
		fmt.Fprintln(cmd.OutOrStdout())
		return nil
	}
	return cmd
}

func newDetokenize() *cobra.Command {
	var lines bool
	cmd := &cobra.Command{
		Use:   "detokenize [ID ...]",
		Short: "Turn token ids into text",
		Long: `Turn token ids into text: the arguments, or all numbers of standard input. With --jsonl each line of standard
input is a JSON array of ids and each line of output a JSON string.`,
		Example: `  polynode detokenize 1049 3195 3280 553
  polynode tokenize "round trip" | polynode detokenize
  polynode detokenize --model polylm-13b --jsonl < ids.jsonl`,
	}
	flags := addTokenizer(cmd)
	cmd.Flags().BoolVar(&lines, "jsonl", false, "a JSON array of ids on each line in, a JSON string on each line out")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		tok, err := flags.open()
		if err != nil {
			return err
		}
		if lines {
			return mapLines(cmd.InOrStdin(), cmd.OutOrStdout(), func(line []byte) (any, error) {
				var ids []int32
				if err := json.Unmarshal(line, &ids); err != nil {
					return nil, err
				}
				if bytes.Contains(line, []byte("null")) {
					return nil, errors.New("null is no array of ids, and no id")
				}
				return decode(tok, ids)
			})
		}
		ids, err := parseIDs(cmd.InOrStdin(), args)
		if err != nil {
			return err
		}
		text, err := decode(tok, ids)
		if err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), text)
		return nil
	}
	return cmd
}

func decode(tok tokenizer.Tokenizer, ids []int32) (string, error) {
	for i, id := range ids {
		if id < 0 || int(id) >= tok.Size() {
			return "", fmt.Errorf("%w: id %d (number %d) is not one of the tokenizer's %d pieces", errUsage, id, i+1, tok.Size())
		}
	}
	return tok.Decode(ids), nil
}

// parseIDs reads ids from the arguments, or white-space separated from the input if there are none.
func parseIDs(in io.Reader, args []string) ([]int32, error) {
	if len(args) == 0 {
		words := bufio.NewScanner(in)
		words.Split(bufio.ScanWords)
		for words.Scan() {
			args = append(args, words.Text())
		}
		if err := words.Err(); err != nil {
			return nil, fmt.Errorf("read ids: %w", err)
		}
	}
	var ids []int32
	for _, arg := range args {
		id, err := strconv.ParseInt(arg, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%w: %q is not a token id", errUsage, arg)
		}
		ids = append(ids, int32(id))
	}
	return ids, nil
}

// mapLines answers each line of input with one line of JSON.
func mapLines(in io.Reader, out io.Writer, answer func([]byte) (any, error)) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, lineMax)
	buffered := bufio.NewWriter(out)
	encoder := json.NewEncoder(buffered)
	encoder.SetEscapeHTML(false)
	for number := 1; lines.Scan(); number++ {
		value, err := answer(lines.Bytes())
		if err != nil {
			return errors.Join(fmt.Errorf("line %d: %w", number, err), buffered.Flush())
		}
		if err := encoder.Encode(value); err != nil {
			return fmt.Errorf("write line %d: %w", number, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read lines: %w", err)
	}
	return buffered.Flush()
}

func argumentOrInput(cmd *cobra.Command, args []string) (string, error) {
	if len(args) == 1 {
		return args[0], nil
	}
	text, err := io.ReadAll(cmd.InOrStdin())
	if err != nil {
		return "", fmt.Errorf("read text: %w", err)
	}
	return string(text), nil
}

func atMostOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return fmt.Errorf("%w: %s takes %s; see %s --help", errUsage, cmd.CommandPath(), what, cmd.CommandPath())
		}
		return nil
	}
}
