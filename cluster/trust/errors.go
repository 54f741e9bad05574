package trust

import "errors"

// Why a peer's certificates are refused.
var (
	ErrCertificate = errors.New("malformed certificate")              // it cannot be read, or is not of a node's form
	ErrForeign     = errors.New("certificate of another cluster")     // no root that is trusted here signed it
	ErrExpired     = errors.New("certificate has expired")            // or the clock here runs ahead
	ErrNotYetValid = errors.New("certificate is not valid yet")       // the clock here runs behind
	ErrRevoked     = errors.New("certificate was revoked")            // the node was removed from the cluster
	ErrName        = errors.New("certificate does not fit the node")  // the id is not the hash of the key, or not who was called
	ErrSelf        = errors.New("a node cannot join itself")          // the same key at both ends
	ErrKeyFile     = errors.New("state folder cannot be used")        // a file of keys is damaged or open to others
	ErrNone        = errors.New("not in the state folder yet")        // the file was never written: the node has not joined
	ErrKeys        = errors.New("change of keys that would lock out") // see Ring.Follows
)

// Why a join is refused. Each has a code by which it travels to the joiner, see Refusal.
var (
	ErrToken        = errors.New("not a join token")                 // it cannot be read
	ErrTokenUnknown = errors.New("join token unknown")               // this cluster made no such token, or has forgotten it
	ErrTokenSecret  = errors.New("join token with a wrong secret")   // its proof does not hold
	ErrTokenUsed    = errors.New("join token used up")               // as many nodes joined with it as it was made for
	ErrTokenExpired = errors.New("join token expired")               // its time is over
	ErrTokenRevoked = errors.New("join token revoked")               // somebody took it back
	ErrRole         = errors.New("join token for another role")      // a witness with a worker's token, or the other way round
	ErrRequest      = errors.New("malformed join request")           // or facts that no machine has
	ErrVersion      = errors.New("another version of the protocol")  // the two programs do not understand each other
	ErrElsewhere    = errors.New("another node answers joins")       // the refusal carries its address
	ErrFull         = errors.New("the cluster is full")              // as many nodes as it can hold
	ErrUnavailable  = errors.New("the cluster cannot answer now")    // nothing wrong with the request; try again
	ErrAnswer       = errors.New("malformed answer to join request") // what came back cannot be used
)

// codes are the refusals' names on the wire. They never change.
var codes = []struct {
	code string
	err  error
}{
	{"token", ErrToken},
	{"token_unknown", ErrTokenUnknown},
	{"token_secret", ErrTokenSecret},
	{"token_used", ErrTokenUsed},
	{"token_expired", ErrTokenExpired},
	{"token_revoked", ErrTokenRevoked},
	{"role", ErrRole},
	{"request", ErrRequest},
	{"version", ErrVersion},
	{"elsewhere", ErrElsewhere},
	{"full", ErrFull},
	{"revoked", ErrRevoked},
	{"self", ErrSelf},
}

// codeUnavailable stands for every error that is no business of the joiner.
const codeUnavailable = "unavailable"

func codeOf(err error) string {
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return codeUnavailable
}

func errorOf(code string) error {
	for _, c := range codes {
		if c.code == code {
			return c.err
		}
	}
	return ErrUnavailable
}
