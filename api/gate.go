package api

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
)

// Gate decides who may ask, before anything of a request is read. It is safe for concurrent use.
type Gate struct {
	keys  [][32]byte
	hosts []string
}

// NewGate makes a gate that opens private routes to any of the keys, or to everybody if there are none. Without keys, hosts are names
// besides localhost and addresses that browsers may use.
func NewGate(keys, hosts []string) *Gate { return &Gate{keys: hashKeys(keys), hosts: hosts} }

// check refuses a request that may not be answered.
func (g *Gate) check(r *http.Request, private bool) *Error {
	if private && len(g.keys) > 0 && !g.authorised(r) {
		return &Error{
			Status: http.StatusUnauthorized, Message: "Incorrect or missing API key. Send it as 'Authorization: Bearer KEY'.",
			Type: "invalid_request_error", Code: "invalid_api_key",
		}
	}
	if len(g.keys) == 0 && throughLoopback(r) && !g.hostAllowed(r.Host) {
		return &Error{
			Status: http.StatusForbidden, Message: "This server has no API keys, so it answers only to names of this machine.",
			Type: "invalid_request_error", Code: "host_not_allowed",
		}
	}
	return nil
}

// Forwarding guards requests that another server answers in the end: whoever may not ask there through this address is refused here.
func (g *Gate) Forwarding(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := g.check(r, privatePath(r.URL.Path)); err != nil {
			refuse(w, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// privatePath tells whether a Server guards the path by its keys.
func privatePath(path string) bool {
	for _, prefix := range []string{"/v1/", "/cluster/", "/tokenize", "/detokenize", "/metrics"} {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}

// Limits of requests behind Private.
const (
	privateBodyMax = 64 << 10         // bytes
	privateTimeout = 30 * time.Second // for a body to arrive
)

// Private guards a handler as the private routes of a Server are guarded. The handler finds the whole body, of at most 64 KiB, in
// memory, and has a time to answer.
func (g *Gate) Private(timeout time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.SetWriteDeadline(time.Now().Add(timeout)) // a recorder in a test has none
		if err := g.check(r, true); err != nil {
			refuse(w, err)
			return
		}
		body, err := smallBody(w, r)
		if err != nil {
			refuse(w, err)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}

// smallBody reads a body. What changes something has to be JSON or without a body and not a simple request: a web page elsewhere can send
// other types without asking, and JSON it cannot.
func smallBody(w http.ResponseWriter, r *http.Request) ([]byte, *Error) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil, nil
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); r.Method == http.MethodPost && (err != nil || t != "application/json") {
		return nil, &Error{
			Status: http.StatusUnsupportedMediaType, Message: "Unsupported media type: only 'application/json' is allowed.",
			Type: "invalid_request_error", Code: "unsupported_media_type",
		}
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(privateTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, privateBodyMax))
	if err == nil {
		_ = control.SetReadDeadline(time.Time{}) // net/http goes on reading, to notice a client that leaves
		return body, nil
	}
	w.Header().Set("Connection", "close")
	var big *http.MaxBytesError
	if errors.As(err, &big) {
		return nil, &Error{
			Status: http.StatusRequestEntityTooLarge, Message: "The body is larger than 64 KiB.",
			Type: "invalid_request_error", Code: "request_too_large",
		}
	}
	return nil, invalid("", "unreadable_body", "The body could not be read, or did not arrive in time.")
}

// refuse answers with an error, and says how to be let in.
func refuse(w http.ResponseWriter, err *Error) {
	if err.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	writeError(w, err)
}

// WriteJSON answers with v as JSON.
func WriteJSON(w http.ResponseWriter, status int, v any) { writeJSON(w, status, v) }

// WriteError answers with an error in OpenAI's form. Nothing must have been written before.
func WriteError(w http.ResponseWriter, err *Error) { writeError(w, err) }

func hashKeys(keys []string) [][32]byte {
	var hashes [][32]byte
	for _, k := range keys {
		hashes = append(hashes, sha256.Sum256([]byte(k)))
	}
	return hashes
}

// authorised compares hashes in constant time, and all of them, so that the time tells nothing of the keys.
func (g *Gate) authorised(r *http.Request) bool {
	scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	given, found := sha256.Sum256([]byte(strings.TrimSpace(key))), 0
	for i := range g.keys {
		found |= subtle.ConstantTimeCompare(given[:], g.keys[i][:])
	}
	return found == 1
}

// throughLoopback tells whether a request came over this machine's loopback, where a browser of this machine sends it.
func throughLoopback(r *http.Request) bool {
	addr, tcp := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return tcp && addr.IP.IsLoopback()
}

// hostAllowed stands between an open server and DNS rebinding, where a web page's own name is made to point at this machine:
// without keys only addresses, this machine's names and those of the configuration are answered to over loopback.
func (g *Gate) hostAllowed(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	if host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") || slices.Contains(g.hosts, host) {
		return true
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	own, err := os.Hostname()
	return err == nil && strings.EqualFold(host, own)
}
