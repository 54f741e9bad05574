package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// samplingFlags are the ways to choose a token, shared by generate and chat. Only flags that were given are sent, so
// that the server's defaults hold for the rest.
type samplingFlags struct {
	maxTokens                        int
	temperature, topP, minP, penalty float64
	topK                             int
	seed                             int64
	stop                             []string
	flags                            *pflag.FlagSet
}

func addSampling(cmd *cobra.Command, maxTokens int) *samplingFlags {
	s := &samplingFlags{flags: cmd.Flags()}
	cmd.Flags().IntVar(&s.maxTokens, "max-tokens", maxTokens, "tokens to generate at most")
	cmd.Flags().Float64Var(&s.temperature, "temperature", 0, "0 takes the likeliest token, 1 follows the model's distribution")
	cmd.Flags().Float64Var(&s.topP, "top-p", 1, "sample from the likeliest tokens that have this probability together")
	cmd.Flags().IntVar(&s.topK, "top-k", 0, "sample from this many of the likeliest tokens; 0 is all")
	cmd.Flags().Float64Var(&s.minP, "min-p", 0, "leave out tokens less likely than this share of the likeliest")
	cmd.Flags().Float64Var(&s.penalty, "repetition-penalty", 1, "above 1 makes tokens that were there less likely")
	cmd.Flags().Int64Var(&s.seed, "seed", 0, "makes sampling repeatable")
	cmd.Flags().StringArrayVar(&s.stop, "stop", nil, "end before this text; can be given several times")
	return s
}

// request is a body with the flags that were given.
func (s *samplingFlags) request() completionRequest {
	r := completionRequest{MaxTokens: &s.maxTokens, Temperature: &s.temperature, Stop: s.stop}
	if s.flags.Changed("top-p") {
		r.TopP = &s.topP
	}
	if s.flags.Changed("top-k") {
		r.TopK = &s.topK
	}
	if s.flags.Changed("min-p") {
		r.MinP = &s.minP
	}
	if s.flags.Changed("repetition-penalty") {
		r.RepetitionPenalty = &s.penalty
	}
	if s.flags.Changed("seed") {
		r.Seed = &s.seed
	}
	return r
}

func newGenerate() *cobra.Command {
	var (
		beams         int
		early         bool
		lengthPenalty float64
		ignoreEOS     bool
		echo          bool
		showStats     bool
	)
	cmd := &cobra.Command{
		Use:   "generate PROMPT",
		Short: "Continue a text and stream the continuation to the terminal",
		Long: `Continue a text. The prompt is used as it is, without a chat format; - reads it from standard input.

Without --url the model runs inside this process; with it a server is asked.`,
		Example: `  polynode generate "Alle Menschen sind frei und"
  polynode generate --model polylm-13b --num-beams 4 $'Beijing is the capital of China.\nTranslate this sentence from English to Chinese.'
  polynode generate --url http://127.0.0.1:8080 --temperature 0.7 --top-p 0.8 --seed 1 "Once upon a time"
  echo "Toda persona tiene" | polynode generate -`,
		Args: exactArgs(1, "one prompt"),
	}
	connect := addConnection(cmd)
	sampling := addSampling(cmd, 128)
	cmd.Flags().IntVar(&beams, "num-beams", 1, "search with this many beams instead of sampling (PolyLM's own examples use 4)")
	cmd.Flags().BoolVar(&early, "early-stopping", false, "end the search as soon as there are as many finished texts as beams")
	cmd.Flags().Float64Var(&lengthPenalty, "length-penalty", 1, "above 1 favours longer texts in a beam search")
	cmd.Flags().BoolVar(&ignoreEOS, "ignore-eos", false, "go on after the end-of-text token")
	cmd.Flags().BoolVar(&echo, "echo", true, "print the prompt in front of its continuation")
	cmd.Flags().BoolVar(&showStats, "stats", false, "print counts and speed to standard error at the end")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		prompt, err := readPrompt(cmd.InOrStdin(), args[0])
		if err != nil {
			return err
		}
		c, stop, err := connect.open(cmd.Context())
		if err != nil {
			return err
		}
		request := sampling.request()
		request.Prompt, request.IgnoreEOS = prompt, ignoreEOS
		if cmd.Flags().Changed("num-beams") && beams != 1 {
			request.NumBeams, request.EarlyStopping, request.LengthPenalty = &beams, &early, &lengthPenalty
		}
		err = generate(cmd.Context(), cmd.OutOrStdout(), c, request, echo, showStats)
		return joinStop(err, stop)
	}
	return cmd
}

// generate streams one completion to out.
func generate(ctx context.Context, out io.Writer, c *client, request completionRequest, echo, showStats bool) error {
	if echo {
		fmt.Fprint(out, request.Prompt)
	}
	start, first := time.Now(), time.Duration(0)
	used, err := c.stream(ctx, "/v1/completions", request, func(next chunk) error {
		for _, choice := range next.Choices {
			if first == 0 && choice.Text != "" {
				first = time.Since(start)
			}
			if _, err := io.WriteString(out, choice.Text); err != nil {
				return err
			}
		}
		return nil
	})
	fmt.Fprintln(out)
	if err == nil && showStats {
		took := time.Since(start)
		fmt.Fprintf(os.Stderr, "%d prompt tokens, %d generated in %.2f s (%.1f tokens/s), first after %.0f ms\n",
			used.PromptTokens, used.CompletionTokens, took.Seconds(), float64(used.CompletionTokens)/took.Seconds(), first.Seconds()*1e3)
	}
	return err
}

// promptMax bounds a prompt from standard input: as much as a request may carry.
const promptMax = 8 << 20

// readPrompt is the argument, or the input for "-".
func readPrompt(in io.Reader, argument string) (string, error) {
	if argument != "-" {
		return argument, nil
	}
	text, err := io.ReadAll(io.LimitReader(in, promptMax+1))
	if err != nil {
		return "", fmt.Errorf("read prompt: %w", err)
	}
	if len(text) > promptMax {
		return "", fmt.Errorf("%w: the prompt on standard input is longer than %d bytes", errUsage, promptMax)
	}
	return strings.TrimSuffix(string(text), "\n"), nil
}
