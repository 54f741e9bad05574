package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"polynode/configs"
)

// Exit codes besides 0.
const (
	exitFailure   = 1
	exitUsage     = 2
	exitInterrupt = 130
)

// errUsage marks a mistake on the command line.
var errUsage = errors.New("usage")

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string) int {
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "interrupted")
		return exitInterrupt
	}
	fmt.Fprintln(os.Stderr, "polynode: "+strings.ReplaceAll(err.Error(), "\n", "\n          "))
	if errors.Is(err, errUsage) || errors.Is(err, configs.ErrInvalid) {
		return exitUsage
	}
	return exitFailure
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "polynode",
		Short: "One fast, unkillable server for PolyLM, made of ordinary machines",
		Long: `polynode serves PolyLM, the 18-language model family, behind an OpenAI-style HTTP endpoint.

Start here:
  polynode up                                      serve the demo model that is in this binary
  polynode generate "Alle Menschen sind frei und"  let it continue a text
  polynode model import ~/polylm-13b --quant q4    make a published checkpoint ready
  polynode up --model polylm-13b                   and serve it
  polynode join HOST:PORT --token TOKEN            on another machine, as up printed it
  polynode status                                  how the cluster is
  polynode serve polylm-1.7b                       let a running cluster serve another model

Every setting is a flag, an environment variable (POLYNODE_KV_MEMORY) and a key of the file given with --config
(kv-memory); a flag wins over the environment, the environment over the file.`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w: %w; see %s --help", errUsage, err, cmd.CommandPath())
	})
	onlyVerbs(root)
	root.AddCommand(newUp(), newJoin(), newStatus(), newNodes(), newPlan(), newServe(), newToken(), newDrain(), newUndrain(), newLeave(), newRemove(), newCert(), newRecover(),
		newGenerate(), newChat(), newModel(), newTokenize(), newDetokenize(), newBench(), newVersion())
	return root
}

// onlyVerbs makes a command that does nothing itself explain itself, or name the word that is none of its verbs.
func onlyVerbs(cmd *cobra.Command) {
	cmd.SuggestionsMinimumDistance = 2
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		hint := ""
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			hint = fmt.Sprintf(" (%s?)", strings.Join(near, ", "))
		}
		return fmt.Errorf("%w: %s has no verb %q%s; see %s --help", errUsage, cmd.CommandPath(), args[0], hint, cmd.CommandPath())
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
}

// settingFlags are the settings of a node as flags of a verb.
type settingFlags struct {
	file  string
	flags *pflag.FlagSet
	names []string
}

// addSettings gives a verb the named settings as flags, and --config. The values are read by load, so that the
// order of sources is the same for all settings; the flags here only hold text.
func addSettings(cmd *cobra.Command, names ...string) *settingFlags {
	s := &settingFlags{flags: cmd.Flags(), names: names}
	cmd.Flags().StringVar(&s.file, "config", "", "YAML file of settings")
	shown := configs.Default()
	for _, setting := range shown.Settings() {
		if !slices.Contains(names, setting.Name) {
			continue
		}
		flag := cmd.Flags().VarPF(&textFlag{setting.Value.String(), setting.Value.Type()}, setting.Name, "", setting.Help)
		if flag.Value.Type() == "bool" {
			flag.NoOptDefVal = "true"
		}
	}
	return s
}

// textFlag keeps what was given, whatever it is, and shows the type that it should have.
type textFlag struct{ text, kind string }

func (f *textFlag) String() string        { return f.text }
func (f *textFlag) Set(text string) error { f.text = text; return nil }
func (f *textFlag) Type() string          { return f.kind }

// load merges file, environment and flags.
func (s *settingFlags) load() (configs.Config, error) {
	given := map[string]string{}
	for _, name := range s.names {
		if flag := s.flags.Lookup(name); flag.Changed {
			given[name] = flag.Value.String()
		}
	}
	return configs.Load(s.file, os.LookupEnv, given)
}

// newLogger writes to standard error in the form and from the level that the settings ask for.
func newLogger(c configs.Config) *slog.Logger {
	var level slog.Level
	// Validate has seen the name.
	_ = level.UnmarshalText([]byte(c.LogLevel))
	options := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}

// exactArgs is cobra.ExactArgs with the exit code of a usage error.
func exactArgs(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return fmt.Errorf("%w: %s takes %s; see %s --help", errUsage, cmd.CommandPath(), what, cmd.CommandPath())
		}
		return nil
	}
}
