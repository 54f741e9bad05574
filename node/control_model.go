package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"polynode/model/demo"
	"polynode/model/fetch"
	"polynode/model/store"
	"polynode/shard"
)

// ModelWish names a model that the cluster is to serve: by its name in the library of any node, or by (the beginning of) its digest.
type ModelWish struct {
	Model string `json:"model"`
}

// ModelChange is what is served, and how far the last change of it is.
type ModelChange struct {
	Model  string `json:"model"` // that was asked for last
	Digest string `json:"digest"`
	Stage  string `json:"stage"` // fetching, waiting, taking, done or failed
	Cause  string `json:"cause,omitempty"`
}

// ServedModel is the model of a cluster.
type ServedModel struct {
	Model   string       `json:"model"` // that is served; empty while none is
	Digest  string       `json:"digest,omitempty"`
	Running int          `json:"running"` // requests
	Change  *ModelChange `json:"change,omitempty"`
}

// controlModel says what is served.
func (n *Node) controlModel(*http.Request) (any, error) {
	var served ServedModel
	if s := n.serving(); s != nil {
		stats := s.engine.Stats()
		served.Model, served.Digest, served.Running = s.name, s.model.Digest().String(), stats.Running+stats.Waiting+stats.Preempted
	}
	served.Change = n.lastChange()
	return served, nil
}

// lastChange is the change of model that was asked for last, nil if none was.
func (n *Node) lastChange() *ModelChange {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.changing.Stage == "" {
		return nil
	}
	changing := n.changing
	return &changing
}

// controlServe begins to change the model. Whoever asks looks with controlModel how far it is.
func (n *Node) controlServe(r *http.Request) (any, error) {
	var wish ModelWish
	if err := readControl(r, &wish); err != nil {
		return nil, err
	}
	if wish.Model == "" {
		return nil, refusal(http.StatusBadRequest, "invalid_value", "Missing 'model': the name of a model that a node has, or its digest.")
	}
	if n.serving() == nil {
		return nil, refusal(http.StatusServiceUnavailable, "no_plan", "%s: %s.", unplanned, orText(n.troubled(), "the cluster is starting"))
	}
	m, name, err := n.findModel(r.Context(), wish.Model)
	if err != nil {
		return nil, err
	}
	if err := n.wish(changeWish{m, name}); err != nil {
		return nil, refusal(http.StatusConflict, "conflict", "%v: wait until it has ended; `polynode status` shows it.", err)
	}
	return n.controlModel(r)
}

// findModel finds a model by what a person calls it, among what all nodes have, and opens what a coordinator needs of it.
func (n *Node) findModel(ctx context.Context, name string) (*store.Model, string, error) {
	found := map[string][]string{} // nodes, by digest
	label := name
	note := func(node string, have []HeldModel) {
		for _, h := range have {
			found[h.Digest] = append(found[h.Digest], node)
			label = h.Name
		}
	}
	own, err := n.heldModels(name)
	if err != nil {
		return nil, "", err
	}
	note(n.config.Name, own)
	state := n.cluster.State()
	for _, id := range slices.Sorted(maps.Keys(state.Nodes)) {
		if id != n.self && n.alive(id) {
			have, err := n.askForModel(ctx, id, name)
			if err != nil {
				n.log.Warn("ask a node for a model", "node", id, "cause", err)
				continue
			}
			note(title(state.Nodes[id]), have)
		}
	}
	for digest, m := range state.Models {
		if _, there := found[digest]; !there && len(found) == 0 && (m.Name == name || named(name, digest)) {
			found[digest], label = nil, m.Name
		}
	}
	switch len(found) {
	case 0:
		return nil, "", refusal(http.StatusNotFound, "not_found", "No node that is here has a model %.80q. `polynode model ls` shows those of a machine, "+
			"`polynode model import` on any node adds one.", name)
	case 1:
	default:
		return nil, "", refusal(http.StatusConflict, "ambiguous", "%.80q is %s. Name one by its digest.", name, holders(found))
	}
	digest := slices.Collect(maps.Keys(found))[0]
	m, err := n.description(ctx, digest)
	if errors.Is(err, fetch.ErrUnavailable) {
		err = refusal(http.StatusConflict, "unavailable", "The cluster knows model %.80q, but no node that is here has it any more: %v. Start a node that "+
			"has it, or import it again with `polynode model import`.", name, err)
	}
	return m, label, err
}

// named reports whether a text is a digest or at least eight digits of its beginning.
func named(text, digest string) bool {
	return len(text) >= digestPrefixMin && strings.HasPrefix(digest, strings.ToLower(text))
}

const digestPrefixMin = 8

// holders says which digests a name stands for, and where.
func holders(found map[string][]string) string {
	var texts []string
	for _, digest := range slices.Sorted(maps.Keys(found)) {
		texts = append(texts, fmt.Sprintf("%.12s on %s", digest, strings.Join(found[digest], ", ")))
	}
	return strings.Join(texts, " and ")
}

// HeldModel is a model that a node has, or has a part of.
type HeldModel struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
}

// heldModels are those of this node that a name stands for: one, as a rule.
func (n *Node) heldModels(name string) ([]HeldModel, error) {
	library, err := OpenLibrary(n.config.Data)
	if err != nil {
		return nil, err
	}
	defer library.Close()
	entries, err := library.List()
	if err != nil {
		return nil, err
	}
	var have []HeldModel
	for _, e := range entries {
		digest := e.Digest.String()
		if e.Err == nil && (e.Name == name || named(name, digest)) && !slices.ContainsFunc(have, func(h HeldModel) bool { return h.Digest == digest }) {
			have = append(have, HeldModel{orText(e.Name, name), digest})
		}
	}
	if len(have) == 0 && (name == demo.Name || name == demoShort) {
		m, err := demo.Open()
		if err != nil {
			return nil, err
		}
		have = append(have, HeldModel{demo.Name, m.Digest().String()})
		return have, m.Close()
	}
	return have, nil
}

// demoShort is what people call the model in the binary.
const demoShort = "demo"

// heldPath is where a coordinator asks a node for a model.
const heldPath = "/node/v1/model"

// serveHeld answers a coordinator that looks for a model.
func (n *Node) serveHeld(w http.ResponseWriter, r *http.Request) {
	var wish ModelWish
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, askMax)).Decode(&wish)
	var have []HeldModel
	if err == nil {
		have, err = n.heldModels(wish.Model)
	}
	if err == nil {
		err = json.NewEncoder(w).Encode(have)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
	}
}

func (n *Node) askForModel(ctx context.Context, node shard.NodeID, name string) ([]HeldModel, error) {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	body, err := json.Marshal(ModelWish{name})
	if err != nil {
		return nil, err
	}
	text, err := n.ask(ctx, node, heldPath, body)
	if err != nil {
		return nil, err
	}
	var have []HeldModel
	if err := json.NewDecoder(io.LimitReader(strings.NewReader(string(text)), askMax)).Decode(&have); err != nil {
		return nil, fmt.Errorf("node %s: %w", node, err)
	}
	for _, h := range have {
		var digest store.Hash
		if err := digest.UnmarshalText([]byte(h.Digest)); err != nil {
			return nil, fmt.Errorf("node %s: %w", node, err)
		}
	}
	return have, nil
}

// orText is the text, or another where it is empty.
func orText(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
