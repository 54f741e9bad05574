package node

import (
	"bytes"
	"iter"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// cgroupAvailable is how many bytes the control groups of this process still allow it, if any of them sets a limit. A group is
// also bound by those above it. Pages of files that a group holds are given back when memory is wanted, so they count as free:
// a model that was just imported or mapped fills a container with them. root is where the groups are mounted, membership what
// /proc/self/cgroup says.
func cgroupAvailable(root, membership string) (int64, bool) {
	least, found := int64(math.MaxInt64), false
	for version, group := range cgroups(membership, "memory") {
		files := cgroupV2
		if version == 1 {
			files = cgroupV1
		}
		if n, ok := files.available(filepath.Join(root, files.mount, group)); ok {
			least, found = min(least, n), true
		}
	}
	return least, found
}

// cgroups lists the groups of the process that a controller may bind, each with the version of control groups that it belongs to and
// before the groups above it.
func cgroups(membership, controller string) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		for line := range strings.Lines(membership) {
			fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
			if len(fields) != 3 {
				continue
			}
			version := 1
			if fields[1] == "" {
				version = 2
			} else if !slices.Contains(strings.Split(fields[1], ","), controller) {
				continue
			}
			// Inside a container the path may be the host's; then only the last group, which is the mounted one, is there.
			for group := path.Clean("/" + fields[2]); ; group = path.Dir(group) {
				if !yield(version, filepath.FromSlash(group)) {
					return
				}
				if group == "/" {
					break
				}
			}
		}
	}
}

// cgroupFiles names what one version of control groups tells in which file.
type cgroupFiles struct {
	mount             string
	limit, used, stat string
	files             []string // lines of stat that count pages of files
}

var (
	cgroupV2 = cgroupFiles{"", "memory.max", "memory.current", "memory.stat", []string{"active_file", "inactive_file"}}
	cgroupV1 = cgroupFiles{"memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat", []string{"total_active_file", "total_inactive_file"}}
)

// available is what one group has left of its limit.
func (c *cgroupFiles) available(group string) (int64, bool) {
	limit, ok := readNumber(filepath.Join(group, c.limit))
	if !ok {
		return 0, false // there is no such group here, or its limit is "max"
	}
	used, ok := readNumber(filepath.Join(group, c.used))
	if !ok {
		return 0, false
	}
	stat, _ := os.ReadFile(filepath.Join(group, c.stat)) // without it nothing counts as free
	for line := range bytes.Lines(stat) {
		name, value, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		if slices.Contains(c.files, name) {
			n, _ := strconv.ParseInt(value, 10, 64)
			used -= n
		}
	}
	return max(limit-max(used, 0), 0), true
}

// readNumber reads a file that holds one number.
func readNumber(path string) (int64, bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}

// cgroupProcessors is how much processor time the control groups of this process allow it, in processors, if any of them sets a
// limit. root and membership are as above.
func cgroupProcessors(root, membership string) (float64, bool) {
	least, found := math.Inf(1), false
	for version, group := range cgroups(membership, "cpu") {
		var quota, period float64
		if version == 2 {
			text, _ := os.ReadFile(filepath.Join(root, group, "cpu.max"))
			fields := strings.Fields(string(text)) // "max 100000" is no limit
			if len(fields) == 2 {
				quota, _ = strconv.ParseFloat(fields[0], 64)
				period, _ = strconv.ParseFloat(fields[1], 64)
			}
		} else {
			q, _ := readNumber(filepath.Join(root, "cpu", group, "cpu.cfs_quota_us")) // -1 is no limit
			p, _ := readNumber(filepath.Join(root, "cpu", group, "cpu.cfs_period_us"))
			quota, period = float64(q), float64(p)
		}
		if quota > 0 && period > 0 {
			least, found = min(least, quota/period), true
		}
	}
	return least, found
}
