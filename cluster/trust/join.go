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
