package transport

import (
	"net"
	"net/netip"
	"slices"
)

// Lengths of UDP packets in bytes.
const (
	packetFallback = 1280 // goes everywhere
	packetEthernet = 1452 // in one Ethernet frame, with IPv6
	ethernetMTU    = 1500
)

// onEthernet reports whether an address is this machine or a neighbour on a segment whose packets are known to be whole
// Ethernet frames: no router, tunnel or provider stands between that could allow less.
func onEthernet(peer netip.Addr) bool {
	peer = peer.Unmap().WithZone("")
	interfaces, err := net.Interfaces()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(interfaces, func(i net.Interface) bool {
		return i.MTU >= ethernetMTU && i.Flags&net.FlagPointToPoint == 0 && i.Flags&net.FlagUp != 0 && segmentHas(&i, peer)
	})
}

// segmentHas reports whether one of an interface's own networks has an address.
func segmentHas(i *net.Interface, peer netip.Addr) bool {
	addresses, err := i.Addrs()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(addresses, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())
		return err == nil && prefix.Contains(peer)
	})
}

// ownAddress is one of this machine's addresses under which others may reach it, or the loopback address.
func ownAddress() netip.Addr {
	best := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return best
	}
	for _, a := range addresses {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil || !prefix.Addr().IsGlobalUnicast() {
			continue
		}
		if prefix.Addr().Is4() {
			return prefix.Addr()
		}
		if !best.IsGlobalUnicast() {
			best = prefix.Addr()
		}
	}
	return best
}
