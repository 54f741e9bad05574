package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// controlTimeout bounds one question to a running node. Nothing that is asked takes long; what does is asked for again and again.
const controlTimeout = 90 * time.Second

// errNoNode reports that no node answers.
var errNoNode = errors.New("no node answers")

// clusterFlags are the flags of verbs that ask a running cluster.
type clusterFlags struct {
	url, key string
	asJSON   bool
}

func addCluster(cmd *cobra.Command) *clusterFlags {
	f := new(clusterFlags)
	cmd.Flags().StringVar(&f.url, "url", "http://127.0.0.1:8080", "HTTP address of any node of the cluster")
	cmd.Flags().StringVar(&f.key, "key", os.Getenv("POLYNODE_KEY"), "API key of the cluster (or POLYNODE_KEY)")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
	cmd.Flags().Lookup("key").DefValue = ""
	return f
}

// client makes a client of the node that the flags name.
func (f *clusterFlags) client() (*client, error) {
	base, err := baseURL(f.url)
	if err != nil {
		return nil, err
	}
	return &client{http: &http.Client{Timeout: controlTimeout}, base: base, key: f.key}, nil
}

// baseURL completes an address that a person typed.
func baseURL(address string) (string, error) {
	base := strings.TrimSuffix(address, "/")
	if !strings.HasPrefix(base, "http://") && !strings.HasPrefix(base, "https://") {
		base = "http://" + base
	}
	if u, err := url.Parse(base); err != nil || u.Host == "" {
		return "", fmt.Errorf("%w: --url %q is no address of a node, such as http://127.0.0.1:8080", errUsage, address)
	}
	return base, nil
}

// ask sends a question and reads its JSON answer into out.
func (f *clusterFlags) ask(ctx context.Context, method, path string, body, out any) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	response, err := c.call(ctx, method, path, body)
	if err != nil {
		return explainAsk(c.base, err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(out); err != nil {
		return fmt.Errorf("%w: what answers at %s is no node of polynode, or one of another version: %w", errAPI, c.base, err)
	}
	return nil
}

// explainAsk says what to do where no node answers.
func explainAsk(base string, err error) error {
	var wrong *net.OpError
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w at %s: nothing listens there; start one with `polynode up`, or name another with --url", errNoNode, base)
	case errors.Is(err, context.DeadlineExceeded) || os.IsTimeout(err):
		return fmt.Errorf("%w at %s within %v: %w; `polynode status --url` of another node says whether the cluster is well", errNoNode, base, controlTimeout, err)
	case errors.As(err, &wrong):
		return fmt.Errorf("%w at %s: %w; name a node with --url", errNoNode, base, err)
	}
	return err
}

// nodePath is the path of what is done with a node.
func nodePath(name, what string) string {
	return "/cluster/v1/nodes/" + url.PathEscape(name) + what
}

// show prints an answer as JSON or for people.
func (f *clusterFlags) show(out io.Writer, answer any, people func() error) error {
	if f.asJSON {
		return printJSON(out, answer)
	}
	return people()
}
