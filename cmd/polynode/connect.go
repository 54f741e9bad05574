package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"polynode/node"
)

// stopTimeout bounds how long a verb waits for its own node to stop.
const stopTimeout = 10 * time.Second

// connection says where the model of a verb runs: at --url, or in this process.
type connection struct {
	settings *settingFlags
	url, key string
}

func addConnection(cmd *cobra.Command) *connection {
	c := &connection{settings: addSettings(cmd, "model", "data", "threads", "network-threads", "lock-weights", "kv-format", "kv-memory", "eos", "log-level")}
	cmd.Flags().StringVar(&c.url, "url", "", "ask the server at this address instead of running the model here")
	cmd.Flags().StringVar(&c.key, "key", os.Getenv("POLYNODE_KEY"), "API key for --url (or POLYNODE_KEY)")
	return c
}

// open returns a client and a function that ends what it started.
func (c *connection) open(ctx context.Context) (*client, func() error, error) {
	if c.url != "" {
		base := strings.TrimSuffix(c.url, "/")
		if !strings.HasPrefix(base, "http://") && !strings.HasPrefix(base, "https://") {
			base = "http://" + base
		}
		return &client{http: http.DefaultClient, base: base, key: c.key}, func() error { return nil }, nil
	}
	config, err := c.settings.load()
	if err != nil {
		return nil, nil, err
	}
	if !c.settings.flags.Changed("log-level") {
		config.LogLevel = "warn" // the answer is what this verb is asked for
	}
	config.HTTP, config.Listen, config.APIKeys = "", "", nil
	n, err := node.Start(ctx, config, newLogger(config))
	if err != nil {
		return nil, nil, err
	}
	stop := func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		return n.Stop(ctx)
	}
	return &client{http: n.Client(), base: "http://localhost"}, stop, nil
}

// joinStop ends what a verb started and adds the error of that to the verb's own.
func joinStop(err error, stop func() error) error {
	if failed := stop(); failed != nil {
		return errors.Join(err, fmt.Errorf("stop: %w", failed))
	}
	return err
}
