package cluster

import (
	"context"
	"net"
	"time"

	"github.com/hashicorp/raft"

	"polynode/transport"
)

// streams lets raft open byte streams to other nodes. raft's addresses are the nodes' names, so a node may change its place on the
// network without any change of what is agreed.
type streams struct {
	network transport.Network
	node    string
	context context.Context // ends Accept and Dial
	stop    context.CancelFunc
}

var _ raft.StreamLayer = (*streams)(nil)

func newStreams(ctx context.Context, network transport.Network, node string) *streams {
	s := &streams{network: network, node: node}
	s.context, s.stop = context.WithCancel(ctx)
	return s
}

// Dial opens a stream to the node of that name.
func (s *streams) Dial(node raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.context, timeout)
	defer cancel()
	conn, err := s.network.Dial(ctx, string(node), transport.ClassRaft)
	if err != nil {
		return nil, err
	}
	return transport.NewStream(conn), nil
}

// Accept waits for a stream from another node.
func (s *streams) Accept() (net.Conn, error) {
	conn, err := s.network.Accept(s.context, transport.ClassRaft)
	if err != nil {
		return nil, err
	}
	return transport.NewStream(conn), nil
}

// Close ends Accept and Dial.
func (s *streams) Close() error {
	s.stop()
	return nil
}

// Addr is the name of this node.
func (s *streams) Addr() net.Addr { return transport.NodeAddr(s.node) }
