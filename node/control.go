package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"polynode/api"
	"polynode/cluster"
	"polynode/cluster/trust"
	"polynode/transport"
)

// Paths of the cluster's own API.
const (
	controlPath = "/cluster/v1/"
	statusPath  = controlPath + "status"
	selfPath    = controlPath + "self"
	leavePath   = controlPath + "leave"
)

// answerTime is how long an answer of the cluster's own API may take, beside the time that running requests get to end.
const answerTime = 45 * time.Second

// withControl answers what is about the cluster itself where this node coordinates, and about this node anywhere. Everything else is next's;
// a node that does not serve itself guards it by its own keys, because the coordinator may have none.
func (n *Node) withControl(next http.Handler) http.Handler {
	gate := api.NewGate(n.config.APIKeys, n.config.Hosts)
	control, forwarding := gate.Private(n.config.Drain+answerTime, n.controlRoutes()), gate.Forwarding(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case n.controls(r.URL.Path):
			control.ServeHTTP(w, r)
		case n.serving() != nil:
			next.ServeHTTP(w, r)
		default:
			forwarding.ServeHTTP(w, r)
		}
	})
}

// controls reports whether this node answers what is asked under a path of the cluster's own API.
func (n *Node) controls(path string) bool {
	if !strings.HasPrefix(path, controlPath) {
		return false
	}
	if path == selfPath || path == leavePath {
		return true
	}
	if n.serving() != nil {
		return path != statusPath // its answer tells of the engine, too
	}
	leader, known := n.cluster.Leader()
	return known && leader == n.self
}

// controlRoutes lays out the cluster's own API.
func (n *Node) controlRoutes() http.Handler {
	mux := http.NewServeMux()
	for pattern, answer := range map[string]func(*http.Request) (any, error){
		"GET " + statusPath:                        n.controlStatus,
		"GET " + selfPath:                          n.controlSelf,
		"GET " + controlPath + "nodes":             n.controlNodes,
		"GET " + controlPath + "plan":              n.controlPlan,
		"GET " + controlPath + "model":             n.controlModel,
		"POST " + controlPath + "model":            n.controlServe,
		"GET " + controlPath + "certificates":      n.controlCertificates,
		"POST " + controlPath + "certificates":     n.controlRotate,
		"GET " + controlPath + "tokens":            n.controlTokens,
		"POST " + controlPath + "tokens":           n.controlNewToken,
		"DELETE " + controlPath + "tokens/{id}":    n.controlRevokeToken,
		"POST " + controlPath + "nodes/{id}/drain": n.controlDrain, "POST " + controlPath + "nodes/{id}/undrain": n.controlUndrain,
		"DELETE " + controlPath + "nodes/{id}": n.controlRemove,
		"POST " + leavePath:                    n.controlLeave,
		controlPath:                            unknownControl,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			result, err := answer(r)
			if err != nil {
				api.WriteError(w, controlError(err))
				return
			}
			api.WriteJSON(w, http.StatusOK, result)
		})
	}
	return mux
}

func unknownControl(r *http.Request) (any, error) {
	return nil, refusal(http.StatusNotFound, "unknown_url", "There is no %s %.200s. The routes are listed in api/README.md.", r.Method, r.URL.Path)
}

// refusal makes an error for whoever asked.
func refusal(status int, code, format string, args ...any) *api.Error {
	kind := "invalid_request_error"
	if status >= http.StatusInternalServerError {
		kind = "server_error"
	}
	return &api.Error{Status: status, Message: fmt.Sprintf(format, args...), Type: kind, Code: code}
}

// controlError gives an error its place in HTTP.
func controlError(err error) *api.Error {
	var own *api.Error
	if errors.As(err, &own) {
		return own
	}
	for _, known := range []struct {
		err    error
		status int
		code   string
	}{
		{cluster.ErrUnknown, http.StatusNotFound, "not_found"},
		{trust.ErrTokenUnknown, http.StatusNotFound, "not_found"},
		{trust.ErrToken, http.StatusBadRequest, "invalid_value"},
		{cluster.ErrCommand, http.StatusBadRequest, "invalid_value"},
		{cluster.ErrConflict, http.StatusConflict, "conflict"},
		{cluster.ErrInUse, http.StatusConflict, "in_use"},
		{cluster.ErrFull, http.StatusConflict, "full"},
		{errLone, http.StatusConflict, "no_cluster"},
		{cluster.ErrNotLeader, http.StatusServiceUnavailable, "no_coordinator"},
		{cluster.ErrUncertain, http.StatusServiceUnavailable, "uncertain"},
		{cluster.ErrClosed, http.StatusServiceUnavailable, "stopping"},
		{transport.ErrUnreachable, http.StatusServiceUnavailable, "unreachable"},
	} {
		if errors.Is(err, known.err) {
			e := refusal(known.status, known.code, "%v.", err)
			if known.status == http.StatusServiceUnavailable {
				e.Retry = time.Second
			}
			return e
		}
	}
	return refusal(http.StatusInternalServerError, "failed", "%v.", err)
}

// readControl reads a body into a struct. No body is an empty one.
func readControl(r *http.Request, into any) error {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if r.ContentLength == 0 {
		return nil
	}
	if err := decoder.Decode(into); err != nil {
		return refusal(http.StatusBadRequest, "invalid_json", "We could not parse the JSON body of your request: %v.", err)
	}
	return nil
}

// proposeTries is how often a change is tried again because somebody else changed the same thing.
const proposeTries = 5

// propose has the cluster agree on a command that is made from the state as it is. A nil command has nothing to change.
func (n *Node) propose(ctx context.Context, command func(*cluster.State) (*cluster.Command, error)) error {
	var err error
	for range proposeTries {
		var c *cluster.Command
		if c, err = command(n.cluster.State()); err != nil || c == nil {
			return err
		}
		if _, err = n.cluster.Propose(ctx, *c); !errors.Is(err, cluster.ErrConflict) {
			return err
		}
	}
	return err
}

// controlStatus answers while this node coordinates and nothing can be served.
func (n *Node) controlStatus(*http.Request) (any, error) {
	return struct {
		Model   any    `json:"model"`
		Engine  any    `json:"engine"`
		Drain   bool   `json:"draining"`
		Cluster Status `json:"cluster"`
	}{Cluster: n.Status()}, nil
}

// Self is which node answers at an address.
type Self struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Cluster     string `json:"cluster"`
	Coordinator string `json:"coordinator"` // empty while there is none
	Version     string `json:"version"`
}

func (n *Node) controlSelf(*http.Request) (any, error) {
	leader, _ := n.cluster.Leader()
	return Self{ID: string(n.self), Name: n.config.Name, Cluster: n.cluster.State().ID, Coordinator: string(leader), Version: n.config.Version}, nil
}

// setTrouble remembers why there is no plan that suits the nodes that are here; nil if there is.
func (n *Node) setTrouble(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.trouble = ""
	if err != nil {
		n.trouble = err.Error()
	}
}

// troubled is what setTrouble remembered.
func (n *Node) troubled() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.trouble
}
