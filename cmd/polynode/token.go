package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"polynode/node"
)

func newToken() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make, list and revoke the tokens that let machines join",
		Long: `A machine joins a cluster with a token, once: it proves with it that it may, and that it talks to the right cluster. A token is a
secret until it is used up, revoked or over.`,
		Example: "  polynode token create\n  polynode token ls\n  polynode token revoke ID",
	}
	onlyVerbs(cmd)
	cmd.AddCommand(newTokenCreate(), newTokenList(), newTokenRevoke())
	return cmd
}

func newTokenCreate() *cobra.Command {
	var (
		wish node.TokenWish
		ttl  time.Duration
	)
	cmd := &cobra.Command{
		Use:     "create",
		Short:   "Make a join token and show how to use it",
		Example: "  polynode token create\n  polynode token create --uses 5 --ttl 24h\n  polynode token create --witness",
		Args:    exactArgs(0, "no arguments"),
	}
	flags := addCluster(cmd)
	cmd.Flags().BoolVar(&wish.Witness, "witness", false, "for a machine that only votes and computes nothing")
	cmd.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long it can be used")
	cmd.Flags().IntVar(&wish.Uses, "uses", 1, "how many machines may join with it")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if ttl <= 0 || wish.Uses <= 0 {
			return fmt.Errorf("%w: --ttl and --uses want more than 0", errUsage)
		}
		wish.TTL = ttl.Seconds()
		var token node.Token
		if err := flags.ask(cmd.Context(), http.MethodPost, "/cluster/v1/tokens", wish, &token); err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		return flags.show(out, token, func() error {
			fmt.Fprintf(out, "%s\n\n%s", token.Text, joinHint(token, wish.Uses))
			return nil
		})
	}
	return cmd
}

// joinHint says how a machine joins.
func joinHint(token node.Token, uses int) string {
	times := "once"
	if uses > 1 {
		times = fmt.Sprintf("%d times", uses)
	}
	text := fmt.Sprintf("on the other machine, until %s, %s:\n\n  polynode join %s --token %s\n", token.Until.Local().Format("2 Jan 15:04"), times, token.Address, token.Text)
	if onLoopback(token.Address) {
		text += fmt.Sprintf("\n%s is this machine's own address: no other machine reaches it. Start the node with --listen :7946 for that.\n", token.Address)
	}
	return text
}

// onLoopback tells whether only this machine reaches an address.
func onLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func newTokenList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "List the join tokens, without their secrets",
		Example: "  polynode token ls\n  polynode token ls --json",
		Args:    exactArgs(0, "no arguments"),
	}
	flags := addCluster(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var list node.TokenList
		if err := flags.ask(cmd.Context(), http.MethodGet, "/cluster/v1/tokens", nil, &list); err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		return flags.show(out, list.Tokens, func() error { return printTokens(out, list.Tokens) })
	}
	return cmd
}

func printTokens(out io.Writer, tokens []node.TokenState) error {
	if len(tokens) == 0 {
		fmt.Fprintln(out, "no tokens; `polynode token create` makes one")
		return nil
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tFOR\tSTATE\tUSED\tUNTIL\tNODES")
	for _, t := range tokens {
		fmt.Fprintf(table, "%s\t%s\t%s\t%d of %d\t%s\t%d\n", t.ID, t.Role, t.State, t.Used, t.Uses, t.Until.Local().Format("2006-01-02 15:04"), len(t.Nodes))
	}
	return table.Flush()
}

func newTokenRevoke() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "revoke ID",
		Short:   "Take a join token back; nodes that joined with it stay",
		Example: "  polynode token revoke q3zk7m2a",
		Args:    exactArgs(1, "the id of a token, which `polynode token ls` shows"),
	}
	flags := addCluster(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var token node.TokenState
		if err := flags.ask(cmd.Context(), http.MethodDelete, "/cluster/v1/tokens/"+url.PathEscape(args[0]), nil, &token); err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		return flags.show(out, token, func() error {
			fmt.Fprintf(out, "token %s is %s\n", token.ID, token.State)
			return nil
		})
	}
	return cmd
}
