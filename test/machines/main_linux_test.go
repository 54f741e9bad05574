package machines

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

// What a process of this test is, by environment variable.
const (
	envWanted  = "POLYNODE_MACHINES"        // set by whoever wants these tests
	envInside  = "POLYNODE_MACHINES_INSIDE" // set in the namespaces
	envMachine = "POLYNODE_MACHINE"         // what a machine is to do, as JSON
)

// unshared is what makes the namespaces. With it end all processes in them.
var unshared = []string{"--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"}

// hindered says why the tests cannot run, if they cannot.
var hindered string

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(envMachine) != "":
		os.Exit(machineMain(os.Getenv(envMachine)))
	case os.Getenv(envWanted) == "":
		hindered = "set " + envWanted + "=1 to run machines in namespaces"
	case os.Getenv(envInside) == "":
		if hindered = whyNot(); hindered == "" {
			os.Exit(runInside())
		}
	}
	os.Exit(m.Run())
}

// arguments are those of unshare. Who is not root becomes it in a namespace for users.
func arguments(command ...string) []string {
	args := unshared
	if os.Getuid() != 0 {
		args = append([]string{"--map-root-user"}, args...)
	}
	return append(append([]string{}, args...), command...)
}

// whyNot tries the namespaces.
func whyNot() string {
	for _, name := range []string{"unshare", "ip"} {
		if _, err := exec.LookPath(name); err != nil {
			return err.Error()
		}
	}
	try := "mount -t tmpfs none /run && ip netns add one && ip link add two type veth peer name three netns one && ip link add four type bridge"
	if out, err := exec.Command("unshare", arguments("sh", "-c", try)...).CombinedOutput(); err != nil {
		return fmt.Sprintf("namespaces cannot be made here: %v: %s", err, out)
	}
	return ""
}

// runInside runs the same tests in the namespaces and returns their exit status.
func runInside() int {
	// A session of its own, before the rest of the machine where that is allowed: the machines of these tests have processors for themselves.
	inside := exec.Command("unshare", arguments(append([]string{"sh", "-c", `echo -10 2>/dev/null >/proc/self/autogroup; mount -t tmpfs none /run && exec "$0" "$@"`, self()}, os.Args[1:]...)...)...)
	inside.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the signal comes when the thread ends
	inside.Env = append(os.Environ(), envInside+"=1")
	inside.Stdin, inside.Stdout, inside.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := inside.Run()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return max(failed.ExitCode(), 1)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// self is this program.
func self() string {
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}

// needMachines skips a test that cannot run here.
func needMachines(t *testing.T) {
	t.Helper()
	if hindered != "" {
		t.Skip(hindered)
	}
}
