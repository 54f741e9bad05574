package node

import (
	"net/http"
	"strings"
	"testing"

	"polynode/configs"
)

// A model that is too large for the first machine is served as soon as the second has joined.
func TestModelTooLargeForOneWaitsForAnother(t *testing.T) {
	available, err := availableMemory()
	if err != nil {
		t.Fatal(err)
	}
	want := complete(t, start(t, nil), 12)

	j := joined{t: t, change: func(c *configs.Config) {
		c.KVMemory = configs.Bytes(float64(available) * 1.3) // half of it fits into each of two
		c.Sequences = 1
	}}
	n := j.up("one", together(1))
	if trouble := n.Info().Trouble; !strings.Contains(trouble, "not enough memory") {
		t.Fatalf("one node is told %q", trouble)
	}
	client := n.Client()
	defer client.CloseIdleConnections()
	response, err := client.Get("http://localhost/v1/models")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a node without a plan answers %s", response.Status)
	}
	page, err := client.Get("http://localhost/")
	if err != nil {
		t.Fatal(err)
	}
	defer page.Body.Close()
	if page.StatusCode != http.StatusOK {
		t.Errorf("the page that shows why is answered with %s", page.Status)
	}
	j.up("two", together(1))
	j.awaitPlan(2)
	if got := complete(t, n, 12); got != want {
		t.Errorf("two nodes say %q, one says %q", got, want)
	}
	if trouble := n.Info().Trouble; trouble != "" {
		t.Errorf("there is a plan, and yet %q", trouble)
	}
}
