package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"polynode/cluster/trust"
	"polynode/shard"
)

// Why a command is refused. The error's text names the object.
var (
	ErrCommand  = errors.New("command not understood")   // malformed, or of a newer version
	ErrConflict = errors.New("state has changed")        // what the command expects is not so; look again
	ErrUnknown  = errors.New("unknown to the cluster")   // it names a node, model or token that is not there
	ErrNotReady = errors.New("node not ready")           // a plan names a node that may not work
	ErrInUse    = errors.New("in use by a plan")         // what is to be removed is still needed
	ErrFull     = errors.New("limit of objects reached") // NodesMax, ModelsMax, TokensMax or RevokedMax
)

// Limits of a command.
const (
	CommandMax = 1 << 20 // bytes, encoded
	NameMax    = 256     // bytes of an id or a name
	SerialMax  = 40      // digits of a certificate's number
)

// commandVersion is the version of all commands. A node refuses any other, as every node of the cluster does.
const commandVersion = 1

// Kind says what a command does.
type Kind string

// The kinds.
const (
	KindFound    Kind = "found"         // give the cluster its id
	KindNode     Kind = "node"          // add or change a node
	KindForget   Kind = "node.forget"   // remove a node
	KindModel    Kind = "model"         // add or change a model
	KindDrop     Kind = "model.drop"    // remove a model
	KindPrepare  Kind = "plan.prepare"  // propose the next plan to the ranks
	KindActivate Kind = "plan.activate" // make the prepared plan the active one
	KindAbandon  Kind = "plan.abandon"  // give the prepared plan up

	KindToken       Kind = "token"        // add a join token
	KindTokenUse    Kind = "token.use"    // let a node in by a token, and count it
	KindTokenRevoke Kind = "token.revoke" // take a token back
	KindRevoke      Kind = "revoke"       // take certificates of a node back
	KindKeys        Kind = "keys"         // change the keys that all nodes share by one step
)

// Command changes the state. Expect is the raft index of the last change of what it is about, 0 if it must not exist yet:
// a node's, model's or token's Index or that of the keys, the active plan's epoch for KindPrepare, the prepared plan's Index for KindActivate
// and KindAbandon. At is the coordinator's clock, where time matters: replicas have none of their own.
type Command struct {
	Version    int                `json:"version"`
	Kind       Kind               `json:"kind"`
	Expect     uint64             `json:"expect,omitempty"`
	At         int64              `json:"at,omitempty"` // seconds since 1970
	ID         string             `json:"id,omitempty"` // of the cluster, of what is removed, or of a token
	Node       *Node              `json:"node,omitempty"`
	Model      *Model             `json:"model,omitempty"`
	Plan       *shard.Plan        `json:"plan,omitempty"`
	Token      *trust.TokenRecord `json:"token,omitempty"`
	Revocation *Revocation        `json:"revocation,omitempty"`
	Keys       *trust.Keys        `json:"keys,omitempty"`
}

// Found gives a new cluster its id.
func Found(id string) Command { return Command{Version: commandVersion, Kind: KindFound, ID: id} }

// PutNode adds a node, or replaces the one that was read: node.Index is what is expected.
func PutNode(node Node) Command {
	return Command{Version: commandVersion, Kind: KindNode, Expect: node.Index, Node: &node}
}

// ForgetNode removes a node that was read.
func ForgetNode(node Node) Command {
	return Command{Version: commandVersion, Kind: KindForget, Expect: node.Index, ID: string(node.ID)}
}

// PutModel adds a model, or replaces the one that was read.
func PutModel(model Model) Command {
	return Command{Version: commandVersion, Kind: KindModel, Expect: model.Index, Model: &model}
}

// DropModel removes a model that was read.
func DropModel(model Model) Command {
	return Command{Version: commandVersion, Kind: KindDrop, Expect: model.Index, ID: model.Digest}
}

// PreparePlan proposes the successor of the plan of an epoch, 0 for the first one.
func PreparePlan(plan *shard.Plan, active shard.Epoch) Command {
	return Command{Version: commandVersion, Kind: KindPrepare, Expect: uint64(active), Plan: plan}
}

// ActivatePlan makes the plan that was prepared at an index the active one.
func ActivatePlan(prepared uint64) Command {
	return Command{Version: commandVersion, Kind: KindActivate, Expect: prepared}
}

// AbandonPlan gives the plan that was prepared at an index up.
func AbandonPlan(prepared uint64) Command {
	return Command{Version: commandVersion, Kind: KindAbandon, Expect: prepared}
}

// PutToken adds a join token (trust.NewToken) at a time in seconds since 1970.
func PutToken(record trust.TokenRecord, at int64) Command {
	return Command{Version: commandVersion, Kind: KindToken, Expect: record.Index, At: at, Token: &record}
}

// UseToken lets a node in by a token that was read, in one step: of two nodes with a token for one, one gets in. node.Index is
// what is expected of the node, 0 for a new one. It begins as joining; one that was there already keeps its phase unless it was gone.
func UseToken(record trust.TokenRecord, node Node, at int64) Command {
	return Command{Version: commandVersion, Kind: KindTokenUse, Expect: record.Index, At: at, ID: record.ID, Node: &node}
}

// RevokeToken takes a token back that was read.
func RevokeToken(record trust.TokenRecord) Command {
	return Command{Version: commandVersion, Kind: KindTokenRevoke, Expect: record.Index, ID: record.ID}
}

// Revoke takes back one certificate of a node, or with an empty serial all of them, at a time in seconds since 1970; then the node is
// gone as well. It expects nothing: a node that is not known any more may have a certificate all the same.
func Revoke(node shard.NodeID, serial string, at int64) Command {
	until := at + int64((trust.Validity+2*trust.Skew)/1e9)
	return Command{Version: commandVersion, Kind: KindRevoke, At: at, Revocation: &Revocation{Node: node, Serial: serial, Until: until}}
}

// PutKeys changes the keys that all nodes share, as they were read, by one step (trust.Ring). Before the next step every node
// must have applied this one.
func PutKeys(keys Keys) Command {
	return Command{Version: commandVersion, Kind: KindKeys, Expect: keys.Index, Keys: &keys.Keys}
}

// Encode is the command as it is kept in the log.
func (c *Command) Encode() ([]byte, error) {
	data, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCommand, err)
	}
	if len(data) > CommandMax {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrCommand, len(data), CommandMax)
	}
	return data, nil
}

// DecodeCommand is the inverse of Encode. Anything but one well-formed command of this version gives ErrCommand.
func DecodeCommand(data []byte) (Command, error) {
	if len(data) > CommandMax {
		return Command{}, fmt.Errorf("%w: %d bytes, limit %d", ErrCommand, len(data), CommandMax)
	}
	var c Command
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&c); err != nil {
		return Command{}, fmt.Errorf("%w: %w", ErrCommand, err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return Command{}, fmt.Errorf("%w: bytes behind its end", ErrCommand)
	}
	if c.Version != commandVersion {
		return Command{}, fmt.Errorf("%w: version %d, want %d", ErrCommand, c.Version, commandVersion)
	}
	return c, nil
}
