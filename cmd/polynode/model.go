package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"polynode/configs"
	"polynode/node"
)

func newModel() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "model",
		Short:   "Import, list, show, verify and remove packed models",
		Example: "  polynode model import ~/polylm-13b --quant q4\n  polynode model ls\n  polynode model verify polylm-13b",
	}
	onlyVerbs(cmd)
	cmd.AddCommand(newModelImport(), newModelList(), newModelShow(), newModelVerify(), newModelRemove())
	return cmd
}

// modelLine is one model of a listing.
type modelLine struct {
	Name      string `json:"name"`
	Digest    string `json:"digest"`
	Bytes     int64  `json:"bytes"`
	Here      *int   `json:"here_percent,omitempty"` // of a model of which this node has a part
	Format    string `json:"format,omitempty"`
	Layers    int    `json:"layers,omitempty"`
	Embed     int    `json:"embed,omitempty"`
	Chat      string `json:"chat,omitempty"`
	Synthetic bool   `json:"synthetic,omitempty"`
	Error     string `json:"error,omitempty"`
}

func newModelList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "List the models of the library",
		Example: "  polynode model ls\n  polynode model ls --json",
		Args:    exactArgs(0, "no arguments"),
	}
	settings := addSettings(cmd, "data")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return withLibrary(settings, func(library node.Library, _ configs.Config) error {
			entries, err := library.List()
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), modelLines(entries))
			}
			return printModels(cmd.OutOrStdout(), modelLines(entries))
		})
	}
	return cmd
}

func modelLines(entries []node.LibraryEntry) []modelLine {
	lines := []modelLine{}
	for _, e := range entries {
		line := modelLine{Name: e.Name, Digest: e.Digest.String(), Bytes: e.Size}
		if m := e.Manifest; e.Err == nil {
			line.Format, line.Layers, line.Embed, line.Chat, line.Synthetic = m.Tensors[0].FormatName(), m.Config.Layers, m.Config.Embed, m.Chat, m.Synthetic
			if e.Present < e.Total {
				here := int(float64(e.Present) / float64(e.Total) * 100)
				line.Here = &here
			}
		} else {
			line.Error = e.Err.Error()
		}
		lines = append(lines, line)
	}
	return lines
}

func printModels(out io.Writer, lines []modelLine) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tDIGEST\tSIZE\tFORMAT\tLAYERS\tWIDTH\tCHAT\t")
	for _, l := range lines {
		note := l.Error
		if l.Synthetic {
			note = "SYNTHETIC"
		}
		if l.Here != nil {
			note = strings.TrimLeft(fmt.Sprintf("%s, %d %% here", note, *l.Here), ", ")
		}
		fmt.Fprintf(table, "%s\t%.12s\t%s\t%s\t%d\t%d\t%s\t%s\n", l.Name, l.Digest, configs.Bytes(l.Bytes), l.Format, l.Layers, l.Embed, l.Chat, note)
	}
	return table.Flush()
}

func newModelShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show NAME",
		Short:   "Print the manifest of a model: shape, provenance, every tensor with its place, error and hash",
		Example: "  polynode model show polylm-13b",
		Args:    exactArgs(1, "one model"),
	}
	settings := addSettings(cmd, "data")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return withModel(settings, args[0], func(m *node.PackedModel) error {
			return printJSON(cmd.OutOrStdout(), struct {
				Digest   string `json:"digest"`
				Bytes    int64  `json:"bytes"`
				Manifest any    `json:"manifest"`
			}{m.Digest().String(), m.Size(), m.Manifest()})
		})
	}
	return cmd
}

func newModelVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "verify NAME",
		Short:   "Read a model whole and compare every byte with its hashes",
		Example: "  polynode model verify polylm-13b",
		Args:    exactArgs(1, "one model"),
	}
	settings := addSettings(cmd, "data")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return withModel(settings, args[0], func(m *node.PackedModel) error {
			bar := newByteBar("verifying")
			err := m.VerifyAll(cmd.Context(), func(done, total int64) { bar.set("", done, total) })
			bar.finish()
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, every byte as it was packed\n", args[0], sizeHere(m))
			}
			return err
		})
	}
	return cmd
}

// sizeHere is the size of a model, or of the part that this node has.
func sizeHere(m *node.PackedModel) string {
	if present := m.Present(); !present.Full() {
		return fmt.Sprintf("%s of %s are here", configs.Bytes(m.Numbering().Bytes(present)), configs.Bytes(m.Size()))
	}
	return configs.Bytes(m.Size()).String()
}

func newModelRemove() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "rm NAME",
		Short:   "Remove a model from the library",
		Example: "  polynode model rm polylm-13b",
		Args:    exactArgs(1, "one model"),
	}
	settings := addSettings(cmd, "data")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return withLibrary(settings, func(library node.Library, _ configs.Config) error {
			digest, err := library.Remove(args[0])
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "removed %s (%.12s)\n", args[0], digest)
			}
			return err
		})
	}
	return cmd
}

// withLibrary opens the library for the duration of a call.
func withLibrary(settings *settingFlags, use func(node.Library, configs.Config) error) error {
	config, err := settings.load()
	if err != nil {
		return err
	}
	library, err := node.OpenLibrary(config.Data)
	if err != nil {
		return err
	}
	return errors.Join(use(library, config), library.Close())
}

// withModel opens a model of the library for the duration of a call.
func withModel(settings *settingFlags, name string, use func(*node.PackedModel) error) error {
	return withLibrary(settings, func(library node.Library, _ configs.Config) error {
		m, err := library.Open(name)
		if err != nil {
			return err
		}
		return errors.Join(use(m), m.Close())
	})
}

func printJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}
