package pool

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// Machine is what this process may compute on: for each memory node of the machine that has any of them the processors that it
// may use, one for each physical core, in ascending order. A machine with one memory is one list.
type Machine [][]int

// ThisMachine asks the operating system. Where it does not tell, every processor counts as a core of one memory.
func ThisMachine() Machine { return readMachine("/sys/devices/system", allowedProcessors()) }

// Cores is the number of physical cores.
func (m Machine) Cores() int {
	n := 0
	for _, node := range m {
		n += len(node)
	}
	return n
}

// readMachine reads the topology that Linux shows under root, for the processors that are allowed.
func readMachine(root string, allowed []int) Machine {
	var cores []int
	for _, cpu := range allowed {
		text, err := os.ReadFile(filepath.Join(root, "cpu", "cpu"+strconv.Itoa(cpu), "topology", "thread_siblings_list"))
		twins := parseList(string(text))
		// The first of a core's processors that may be used stands for the core.
		first := slices.IndexFunc(twins, func(twin int) bool { return slices.Contains(allowed, twin) })
		if err != nil || first < 0 || twins[first] == cpu {
			cores = append(cores, cpu)
		}
	}
	var machine Machine
	found := 0
	folders, _ := filepath.Glob(filepath.Join(root, "node", "node[0-9]*"))
	slices.SortFunc(folders, func(a, b string) int { return nodeNumber(a) - nodeNumber(b) })
	for _, folder := range folders {
		text, _ := os.ReadFile(filepath.Join(folder, "cpulist"))
		local := parseList(string(text))
		node := slices.DeleteFunc(slices.Clone(cores), func(cpu int) bool { return !slices.Contains(local, cpu) })
		if len(node) > 0 { // some nodes are memory alone
			machine = append(machine, node)
			found += len(node)
		}
	}
	if found != len(cores) { // the system does not say where each is
		return Machine{cores}
	}
	return machine
}

func nodeNumber(folder string) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(filepath.Base(folder), "node"))
	return n
}

// processorsMax bounds what a list may name.
const processorsMax = 1 << 13

// parseList reads a list of processors such as 0-3,8, and nothing of one that is none.
func parseList(text string) []int {
	var list []int
	for item := range strings.SplitSeq(strings.TrimSpace(text), ",") {
		low, high, isRange := strings.Cut(item, "-")
		if !isRange {
			high = low
		}
		lo, err := strconv.Atoi(low)
		hi, err2 := strconv.Atoi(high)
		if err != nil || err2 != nil || lo < 0 || hi < lo || hi >= processorsMax {
			return nil
		}
		for cpu := lo; cpu <= hi; cpu++ {
			list = append(list, cpu)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// nodeOf is the processors of the memory node that worker i of n belongs to: workers are dealt over the nodes in
// ascending order, to each node as many as its share of the cores, so that neighbouring runs of parts are read by the same
// node. Nothing where there is one node.
func (m Machine) nodeOf(i, n int) []int {
	if len(m) < 2 {
		return nil
	}
	core := i * m.Cores() / n
	for _, node := range m {
		if core < len(node) {
			return node
		}
		core -= len(node)
	}
	return nil
}

// everyProcessor numbers what the operating system tells the process to use.
func everyProcessor() []int {
	list := make([]int, runtime.NumCPU())
	for i := range list {
		list[i] = i
	}
	return list
}
