package trust

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"polynode/shard"
)

// Protocol is the version of the join messages.
const Protocol = 1

// Limits of the join messages.
const (
	JoinRequestMax = 16 << 10 // bytes
	JoinAnswerMax  = 48 << 10 // bytes
	PeersMax       = 64       // nodes named in an answer: enough to find all others by gossip
	AddressMax     = 64       // bytes of an address with its port
	MessageMax     = 1 << 10  // bytes of a refusal for people
)

// JoinRequest is what a machine sends that wants to join.
type JoinRequest struct {
	Protocol int    `json:"protocol"`
	Token    string `json:"token"` // its id
	CSR      []byte `json:"csr"`
	Proof    []byte `json:"proof"`          // that it has the token's secret
	Name     string `json:"name"`           // for people
	Role     Role   `json:"role,omitempty"` // empty: what the token is for
	Address  string `json:"address"`        // where it listens, as far as it knows; the host may be unspecified (0.0.0.0)
	Facts    Facts  `json:"facts"`
}

// NewJoinRequest asks to join over one TLS connection, whose keying material (ExporterLabel, ExporterBytes) is given. The caller has
// checked with Token.VerifyServer who is at the other end. Token, CSR, proof and protocol of the draft are filled in.
func NewJoinRequest(token Token, identity *Identity, exporter []byte, draft JoinRequest) (JoinRequest, error) {
	csr, err := identity.Request()
	if err != nil {
		return JoinRequest{}, err
	}
	proof, err := token.prove(exporter, csr)
	if err != nil {
		return JoinRequest{}, fmt.Errorf("make join request: %w", err)
	}
	draft.Protocol, draft.Token, draft.CSR, draft.Proof = Protocol, token.ID, csr, proof
	if err := draft.check(); err != nil {
		return JoinRequest{}, fmt.Errorf("make join request: %w", err)
	}
	return draft, nil
}

// Node is the id of the machine that asks: that of the key in its certificate request. It is "" where that is malformed.
func (r *JoinRequest) Node() shard.NodeID {
	_, id, err := parseRequest(r.CSR)
	if err != nil {
		return ""
	}
	return id
}

// Encode is the request as it is sent.
func (r *JoinRequest) Encode() ([]byte, error) { return encodeJSON(r, JoinRequestMax, ErrRequest) }

// DecodeJoinRequest is the inverse of Encode. The request is well-formed and its facts are possible; whether it may join is for Admit to say.
func DecodeJoinRequest(data []byte) (JoinRequest, error) {
	var r JoinRequest
	if err := decodeJSON(data, &r, JoinRequestMax, ErrRequest); err != nil {
		return JoinRequest{}, fmt.Errorf("decode join request: %w", err)
	}
	if err := r.check(); err != nil {
		return JoinRequest{}, fmt.Errorf("decode join request: %w", err)
	}
	return r, nil
}

func (r *JoinRequest) check() error {
	if r.Protocol != Protocol {
		return fmt.Errorf("%w: the joining machine speaks version %d of joining, this cluster version %d; install the same program (`polynode version`) on both",
			ErrVersion, r.Protocol, Protocol)
	}
	if _, ok := decode(r.Token, tokenIDBytes); !ok {
		return fmt.Errorf("%w: token id %.64q", ErrRequest, r.Token)
	}
	if err := CheckText(r.Name, NameMax); err != nil {
		return fmt.Errorf("%w: name: %w", ErrRequest, err)
	}
	if r.Role != "" && !r.Role.Valid() {
		return fmt.Errorf("%w: no role %.64q", ErrRequest, r.Role)
	}
	if err := CheckAddress(r.Address); err != nil {
		return fmt.Errorf("%w: %w", ErrRequest, err)
	}
	return r.Facts.Check()
}

// CheckAddress makes sure that a text is an IP address with a port.
func CheckAddress(address string) error {
	if len(address) > AddressMax {
		return fmt.Errorf("address of %d bytes, limit %d", len(address), AddressMax)
	}
	if a, err := netip.ParseAddrPort(address); err != nil || a.Port() == 0 || CheckText(address, AddressMax) != nil {
		return fmt.Errorf("address %q is not IP:PORT", address)
	}
	return nil
}

// Admit decides about a joiner: it has the secret of the token, over this connection; the token is good for it now; and it gets a
// certificate. joined says that this very node joined with this very token before, so its use is counted already: it lost the
// answer and asks again. The certificate may be handed out only after the cluster has agreed on the use of the token.
func Admit(ca *CA, record TokenRecord, r *JoinRequest, exporter []byte, joined bool, now time.Time) (*x509.Certificate, error) {
	if r.Token != record.ID {
		return nil, fmt.Errorf("admit node: %w: the request is for token %.64q", ErrTokenUnknown, r.Token)
	}
	if err := record.checkProof(r.Proof, exporter, r.CSR); err != nil {
		return nil, fmt.Errorf("admit node: %w", err)
	}
	usable := record.Usable
	if joined {
		usable = record.Repeatable
	}
	if err := usable(now.Unix()); err != nil {
		return nil, fmt.Errorf("admit node: %w", err)
	}
	if err := record.checkRole(r.Role); err != nil {
		return nil, fmt.Errorf("admit node: %w", err)
	}
	return Issue(ca, r.CSR, record.Role, now)
}

// UnknownToken is the error for a token that the cluster does not know.
func UnknownToken(id string) error {
	return fmt.Errorf("%w: token %.64q; %s", ErrTokenUnknown, id, adviceToken)
}

// VerifyServer checks that the node at the other end belongs to the cluster that made the token. It shows its certificate and the root
// behind it; the token says which root that must be. No secret goes to anybody before this holds.
func (t Token) VerifyServer(chain [][]byte, self shard.NodeID, now time.Time) (Peer, error) {
	if len(chain) < 2 || len(chain) > ChainMax {
		return Peer{}, fmt.Errorf("verify cluster: %w: %d certificates, want 2 to %d", ErrCertificate, len(chain), ChainMax)
	}
	for _, raw := range chain[1:] {
		root, err := parseRoot(raw)
		if err != nil || fingerprint(root) != t.Root {
			continue
		}
		bundle := &Bundle{roots: []*x509.Certificate{root}}
		peer, err := bundle.Verify(chain, nil, now)
		if err != nil {
			return Peer{}, err
		}
		if peer.ID == self {
			return Peer{}, fmt.Errorf("verify cluster: %w: node %s answered; give the address of a node on another machine, and a state folder of its own to each node",
				ErrSelf, self)
		}
		return peer, nil
	}
	return Peer{}, fmt.Errorf("verify cluster: %w: the node at this address is not of the cluster that made the token, or that cluster has a new root since; "+
		"check the address, or %s", ErrForeign, adviceToken)
}

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

// ValidID says whether a text has the form of a node's id.
func ValidID(id shard.NodeID) bool {
	_, ok := decode(string(id), idBytes)
	return ok
}

func encodeJSON(v any, most int, sentinel error) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode: %w: %w", sentinel, err)
	}
	if len(data) > most {
		return nil, fmt.Errorf("encode: %w: %d bytes, limit %d", sentinel, len(data), most)
	}
	return data, nil
}

// decodeJSON takes fields that it does not know: those of a newer program, whose version is told apart afterwards.
func decodeJSON(data []byte, v any, most int, sentinel error) error {
	if len(data) > most {
		return fmt.Errorf("%w: %d bytes, limit %d", sentinel, len(data), most)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%w: not the JSON of this message: %w", sentinel, err)
	}
	return nil
}
