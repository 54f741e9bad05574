package main

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"polynode/configs"
	"polynode/node"
)

// printWhatIf writes what is being planned for.
func printWhatIf(out io.Writer, r *node.WhatIfReport) {
	title := r.Title
	if title == "" {
		title = "cluster"
	}
	fmt.Fprintf(out, "%s: %s, %s in %s with %s of weights, keys and values in %s\n",
		title, count(r.Nodes, "node"), r.Model, r.Quant, configs.Bytes(r.Bytes), r.KVFormat)
}

// printPlan writes a plan for people: what to expect, who does what, who is idle and why, and what may die.
func printPlan(out io.Writer, r *node.PlanReport, spares *node.PlanSpares, explain bool) error {
	if r.Plan == nil {
		fmt.Fprintln(out, "no plan")
		return printIdle(out, r)
	}
	t := &r.Times
	fmt.Fprintf(out, "plan for %s: %s, %s\n", r.Objective, count(len(r.Plan.Stages), "stage"), count(len(r.Ranks), "rank"))
	fmt.Fprintf(out, "expected: %.2f tokens/s, %.1f ms a token", t.TokensPerS, t.StepMS)
	if t.Sequences > 1 {
		fmt.Fprintf(out, " of each of %d sequences", t.Sequences)
	}
	if t.Batches > 1 {
		fmt.Fprintf(out, " in %d batches", t.Batches)
	}
	fmt.Fprintf(out, "; prompts %.1f tokens/s; room for %d tokens of context\n", t.PromptTokensPerS, t.KVTokens)
	if s := r.Solo; s != nil {
		fmt.Fprintf(out, "the best single node would be %s: %.2f tokens/s, prompts %.1f tokens/s\n", s.Node, s.Times.TokensPerS, s.Times.PromptTokensPerS)
	} else if r.Searched > 0 {
		fmt.Fprintln(out, "no single node has room for the model")
	}
	if r.Reason != "" {
		fmt.Fprintln(out, r.Reason)
	}
	fmt.Fprintln(out)
	err := printRanks(out, r)
	if err == nil && explain {
		err = printTerms(out, r)
	}
	if err == nil {
		err = printIdle(out, r)
	}
	printTolerance(out, spares)
	return err
}

// printRanks writes what each node gets and what it takes of its memory.
func printRanks(out io.Writer, r *node.PlanReport) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "STAGE\tNODE\tLAYERS\tHEADS\tFFN\tVOCAB\tMS\tWEIGHTS\tKV\tBUFFERS\tMEMORY\tFETCH\t")
	for _, k := range r.Ranks {
		fmt.Fprintf(table, "%d\t%s\t%d\t%d\t%d\t%d\t%.1f\t%s\t%s\t%s\t%s of %s\t%s\t\n", k.Stage, k.Node,
			k.Layers.Len(), k.Heads.Len(), k.Inner.Len(), k.Vocab.Len(), k.Terms.Sum(),
			configs.Bytes(k.Memory.Weights), configs.Bytes(k.Memory.KV), configs.Bytes(k.Memory.Buffers),
			percent(k.Memory.Need(), k.Memory.Available), configs.Bytes(k.Memory.Available), configs.Bytes(k.Move))
	}
	return table.Flush()
}

// printTerms writes where the time of a token goes.
func printTerms(out io.Writer, r *node.PlanReport) error {
	fmt.Fprintln(out, "\npredicted milliseconds a token, by term:")
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "STAGE\tNODE\tWEIGHTS\tATTENTION\tHEAD\tSYNC\tHOP\tWAIT\tOTHER\tSUM\t")
	row := func(stage, name string, t node.PlanTerms) {
		fmt.Fprintf(table, "%s\t%s\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t\n",
			stage, name, t.Weights, t.Attention, t.Head, t.Sync, t.Hop, t.Wait, t.Other, t.Sum())
	}
	for _, k := range r.Ranks {
		row(strconv.Itoa(k.Stage), string(k.Node), k.Terms)
	}
	row("", "a token", r.Times.Terms)
	if err := table.Flush(); err != nil {
		return err
	}
	if r.Searched == 0 {
		return nil // there was nothing to choose
	}
	way := "the best of all that there are"
	if !r.Exact {
		way = "the best found"
	}
	fmt.Fprintf(out, "%s priced; this is %s\n", count(r.Searched, "plan"), way)
	return nil
}

// idleMax is how many idle nodes are written one by one.
const idleMax = 40

func printIdle(out io.Writer, r *node.PlanReport) error {
	if len(r.Idle) == 0 {
		return nil
	}
	fmt.Fprintln(out, "\nidle:")
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, idle := range r.Idle[:min(len(r.Idle), idleMax)] {
		fmt.Fprintf(table, "  %s\t%s\n", idle.Node, idle.Reason)
	}
	if more := len(r.Idle) - idleMax; more > 0 {
		fmt.Fprintf(table, "  and %d more; --json has them all\n", more)
	}
	return table.Flush()
}

func printTolerance(out io.Writer, s *node.PlanSpares) {
	if s == nil {
		return
	}
	fmt.Fprintf(out, "\nfault tolerance %d: ", s.Tolerance)
	if s.Tolerance == 0 {
		fmt.Fprintln(out, s.Reason)
		return
	}
	bytes := int64(0)
	for _, spare := range s.Spares {
		bytes += spare.Bytes
	}
	fmt.Fprintf(out, "any one node may die, and the next plan needs no transfer; spare slices for that take %s of disk\n", configs.Bytes(bytes))
}

func percent(part, whole int64) string {
	return fmt.Sprintf("%.0f %%", 100*float64(part)/max(1, float64(whole)))
}

// count is a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
