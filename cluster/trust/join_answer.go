package trust

import (
	"fmt"
	"time"

	"polynode/shard"
)

// Contact is a node of the cluster and where it was last seen.
type Contact struct {
	ID      shard.NodeID `json:"id"`
	Address string       `json:"address"`
}

// JoinAnswer is what the cluster answers. Either Refusal says why not, or the rest is there.
type JoinAnswer struct {
	Refusal     *Refusal  `json:"refusal,omitempty"`
	Cluster     string    `json:"cluster,omitempty"` // its id
	Certificate []byte    `json:"certificate,omitempty"`
	Keys        *Keys     `json:"keys,omitempty"`
	Peers       []Contact `json:"peers,omitempty"`
}

// Refusal says why a machine may not join.
type Refusal struct {
	Code    string `json:"code"`
	Message string `json:"message"`           // for people: the cause and the next step
	Address string `json:"address,omitempty"` // with ErrElsewhere: whom to ask instead, with the same token
}

// Refuse is the answer to a request that failed with err. What is no business of a stranger it does not tell.
func Refuse(err error) JoinAnswer {
	refusal := &Refusal{Code: codeOf(err), Message: err.Error()}
	if refusal.Code == codeUnavailable {
		refusal.Message = "the cluster cannot let a node in at the moment; its logs say why; try again in a minute"
	}
	refusal.Message = refusal.Message[:min(len(refusal.Message), MessageMax)]
	if CheckText(refusal.Message, MessageMax) != nil {
		refusal.Message = errorOf(refusal.Code).Error()
	}
	return JoinAnswer{Refusal: refusal}
}

// Redirect is the answer of a node that cannot let others in: ask the node at this address.
func Redirect(address string) JoinAnswer {
	answer := Refuse(ErrElsewhere)
	answer.Refusal.Address = address
	return answer
}

// Error makes a refusal an error with its cause: errors.Is knows the sentinel at the joiner too.
func (r *Refusal) Error() string { return r.Message }

// Unwrap is the sentinel of the code; one that is not known here is ErrUnavailable.
func (r *Refusal) Unwrap() error { return errorOf(r.Code) }

// Encode is the answer as it is sent.
func (a *JoinAnswer) Encode() ([]byte, error) { return encodeJSON(a, JoinAnswerMax, ErrAnswer) }

// DecodeJoinAnswer is the inverse of Encode. A refusal comes back as the error, of type *Refusal.
func DecodeJoinAnswer(data []byte) (JoinAnswer, error) {
	var a JoinAnswer
	if err := decodeJSON(data, &a, JoinAnswerMax, ErrAnswer); err != nil {
		return JoinAnswer{}, fmt.Errorf("decode join answer: %w", err)
	}
	if err := a.check(); err != nil {
		return JoinAnswer{}, fmt.Errorf("decode join answer: %w", err)
	}
	if a.Refusal != nil {
		return JoinAnswer{}, fmt.Errorf("join: %w", a.Refusal)
	}
	return a, nil
}

func (a *JoinAnswer) check() error {
	if r := a.Refusal; r != nil {
		if err := CheckText(r.Message, MessageMax); err != nil {
			return fmt.Errorf("%w: refusal: %w", ErrAnswer, err)
		}
		if r.Address != "" && CheckAddress(r.Address) != nil {
			return fmt.Errorf("%w: refusal with a malformed address", ErrAnswer)
		}
		return nil
	}
	if err := CheckText(a.Cluster, NameMax); err != nil {
		return fmt.Errorf("%w: cluster id: %w", ErrAnswer, err)
	}
	if a.Keys == nil {
		return fmt.Errorf("%w: no keys", ErrAnswer)
	}
	if err := a.Keys.Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	if len(a.Peers) > PeersMax {
		return fmt.Errorf("%w: %d peers, limit %d", ErrAnswer, len(a.Peers), PeersMax)
	}
	for _, p := range a.Peers {
		if !ValidID(p.ID) {
			return fmt.Errorf("%w: peer %.64q", ErrAnswer, p.ID)
		}
		if err := CheckAddress(p.Address); err != nil {
			return fmt.Errorf("%w: peer %s: %w", ErrAnswer, p.ID, err)
		}
	}
	return nil
}

// Credentials are those that the answer gives to the machine that asked: certificate and key belong together, the root of the token is
// among those that are trusted from now on, and the certificate is good now.
func (a *JoinAnswer) Credentials(token Token, identity *Identity, now time.Time) (*Credentials, error) {
	bundle, err := ParseRoots(a.Keys.Roots)
	if err != nil {
		return nil, fmt.Errorf("read join answer: %w: %w", ErrAnswer, err)
	}
	if !bundle.Contains(token.Root) {
		return nil, fmt.Errorf("read join answer: %w: the root of the token is not among those that it brings", ErrAnswer)
	}
	c, err := NewCredentials(identity, a.Certificate, bundle)
	if err != nil {
		return nil, fmt.Errorf("read join answer: %w: %w", ErrAnswer, err)
	}
	if _, err := bundle.verify(c.Leaf, now); err != nil {
		return nil, fmt.Errorf("read join answer: %w", err)
	}
	return c, nil
}
