package collective

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net/netip"
	"slices"
	"testing"
	"time"

	"polynode/internal/relay"
	"polynode/shard"
	"polynode/transport"
)

// openIdentity is a node of a cluster that believes every name.
type openIdentity struct{ certificate *tls.Certificate }

func (o openIdentity) Certificate() (*tls.Certificate, error) { return o.certificate, nil }

func (o openIdentity) Verify(chain [][]byte) (string, error) {
	if len(chain) == 0 {
		return "", errors.New("no certificate")
	}
	certificate, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return "", err
	}
	return certificate.Subject.CommonName, nil
}

func newIdentity(t *testing.T, node shard.NodeID) openIdentity {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: string(node)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		t.Fatal(err)
	}
	return openIdentity{&tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}
}

// relayed gives each node of a plan a QUIC network, and lets the others reach it through a link.
func relayed(t *testing.T, plan *shard.Plan, link relay.Link) map[shard.NodeID]transport.Network {
	t.Helper()
	networks, book := map[shard.NodeID]transport.Network{}, map[string]netip.AddrPort{}
	for _, node := range plan.Nodes() {
		network, err := transport.Listen(t.Context(), transport.QUICConfig{
			Node: string(node), Listen: "127.0.0.1:0", Identity: newIdentity(t, node), ResetKey: make([]byte, transport.ResetKeyBytes),
			IdleTimeout: time.Minute, // a slow link on a busy machine is not a dead peer
			Resolve:     func(name string) (netip.AddrPort, bool) { at, ok := book[name]; return at, ok },
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { network.Close() })
		between, err := relay.NewUDP(t.Context(), network.Address(), link, link)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { between.Close() })
		networks[node], book[string(node)] = network, between.Address() // nobody dials before all are there
	}
	return networks
}

// Sums come out whole over links that lose, double and reorder packets, and over slow ones, in one step and in two.
func TestAllReduceOverBadLinks(t *testing.T) {
	for name, link := range map[string]relay.Link{
		"clean":     {},
		"loss":      {Delay: 200 * time.Microsecond, Loss: 0.03},
		"reorder":   {Delay: 200 * time.Microsecond, Jitter: 500 * time.Microsecond, Reorder: 0.05, Duplicate: 0.05},
		"slow":      {Delay: time.Millisecond, Rate: 50_000_000},
		"slow, bad": {Delay: time.Millisecond, Rate: 50_000_000, Loss: 0.01, Reorder: 0.02},
	} {
		t.Run(name, func(t *testing.T) {
			plan := planOf(3)
			plan.Stages[0].DelayBytes = 20_000 // so that the longer vectors go in two steps
			c := linked(t, plan, relayed(t, plan, link))
			if !twoSteps(20_000, 3, 20_000) || twoSteps(2000, 3, 20_000) {
				t.Fatal("both forms are meant to be tested")
			}
			for step, n := range []int{1, 2000, 20_000, 2000, 70_000} {
				c.each(func(_, rank int, links *Links) {
					links.Begin(uint64(step), time.Now().Add(time.Minute))
					sums, want := make([]int32, n), make([]int32, n)
					for i := range sums {
						for r := range 3 {
							value := int32((i*7919 + r*104729 + step) % 100_003)
							want[i] += value
							if r == rank {
								sums[i] = value
							}
						}
					}
					if err := links.Group().AllReduce(sums); err != nil {
						t.Errorf("rank %d: %v", rank, err)
					} else if !slices.Equal(sums, want) {
						t.Errorf("rank %d: wrong sums of %d", rank, n)
					}
				})
			}
		})
	}
}
