package machines

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// nobody is a hardware address that no machine has: what is sent there is lost without a word, as behind a firewall.
const nobody = "02:00:00:00:00:ff"

// networks numbers the switches, so that tests do not share one.
var networks atomic.Int32

// network is a switch and the machines at it.
type network struct {
	t    *testing.T
	name string
}

// newNetwork makes a switch. It is gone when the test ends.
func newNetwork(t *testing.T) *network {
	needMachines(t)
	w := &network{t: t, name: fmt.Sprintf("sw%d", networks.Add(1))}
	w.ip("netns", "add", w.name)
	t.Cleanup(func() { w.ip("netns", "del", w.name) })
	w.ip("-n", w.name, "link", "add", "br0", "type", "bridge")
	w.ip("-n", w.name, "link", "set", "br0", "up")
	return w
}

// ip runs the program ip.
func (w *network) ip(args ...string) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput()
	if err != nil {
		w.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// plug is a place at the switch: a network of one machine.
type plug struct {
	network *network
	name    string // of its namespace
	address string
}

// plug adds a place with the address that ends in host.
func (w *network) plug(name string, host int) *plug {
	p := &plug{network: w, name: w.name + name}
	port := "v" + name
	w.ip("netns", "add", p.name)
	w.t.Cleanup(func() { w.ip("netns", "del", p.name) })
	w.ip("link", "add", port, "netns", w.name, "type", "veth", "peer", "name", "eth0", "netns", p.name)
	w.ip("-n", w.name, "link", "set", port, "master", "br0", "up")
	w.ip("-n", p.name, "link", "set", "lo", "up")
	w.ip("-n", p.name, "link", "set", "eth0", "up")
	p.settle(host)
	return p
}

// settle gives the place another address.
func (p *plug) settle(host int) {
	if p.address != "" {
		p.network.ip("-n", p.name, "addr", "del", p.address+"/24", "dev", "eth0")
	}
	p.address = fmt.Sprintf("10.77.0.%d", host)
	p.network.ip("-n", p.name, "addr", "add", p.address+"/24", "dev", "eth0")
}

// deafen loses everything from one place to another.
func (w *network) deafen(from, to *plug) {
	w.ip("-n", from.name, "neigh", "replace", to.address, "lladdr", nobody, "nud", "permanent", "dev", "eth0")
}

// hear undoes deafen.
func (w *network) hear(from, to *plug) {
	w.ip("-n", from.name, "neigh", "del", to.address, "dev", "eth0")
}

// unplug takes the cable out at the switch, whatever lies at its other end.
func (p *plug) unplug() { p.network.ip("-n", p.network.name, "link", "set", "v"+p.short(), "nomaster") }

// replug puts it back.
func (p *plug) replug() {
	p.network.ip("-n", p.network.name, "link", "set", "v"+p.short(), "master", "br0")
}

func (p *plug) short() string { return strings.TrimPrefix(p.name, p.network.name) }

// sent is how many bytes and packets have left the place.
func (p *plug) sent() (bytes, packets int64) {
	var links []struct {
		Stats struct {
			TX struct{ Bytes, Packets int64 } `json:"tx"`
		} `json:"stats64"`
	}
	out := p.network.ip("-n", p.name, "-s", "-j", "link", "show", "eth0")
	if err := json.Unmarshal([]byte(out), &links); err != nil || len(links) != 1 {
		p.network.t.Fatalf("counters of %s: %v: %s", p.name, err, out)
	}
	return links[0].Stats.TX.Bytes, links[0].Stats.TX.Packets
}

// dial reaches the place's own loopback from the test's process.
func (p *plug) dial(ctx context.Context, _, address string) (net.Conn, error) {
	runtime.LockOSThread() // and end the thread with the goroutine if it cannot come back
	here, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(here)
	there, err := unix.Open("/run/netns/"+p.name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(there)
	if err := unix.Setns(there, unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	conn, failed := (&net.Dialer{}).DialContext(ctx, "tcp4", address)
	if err := unix.Setns(here, unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	runtime.UnlockOSThread()
	return conn, failed
}
