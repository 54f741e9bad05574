package kernelbench

import (
	"fmt"
	"strings"
)

// String is a line for people: the best pass, and the median in brackets.
func (r Row) String() string {
	line := fmt.Sprintf("%-30s", r.Name)
	switch {
	case r.Each != nil:
		return line + fmt.Sprintf(" %7.3f ns per element (%.3f)", r.Each.Best, r.Each.Median)
	case r.GOPs != nil:
		line += fmt.Sprintf(" %7.1f GOP/s (%.1f)", r.GOPs.Best, r.GOPs.Median)
	case r.GBs != nil:
		line += fmt.Sprintf(" %7.1f GB/s (%.1f)", r.GBs.Best, r.GBs.Median)
	}
	if r.Read != nil {
		line += fmt.Sprintf("   %3.0f %% (%.0f %%) of the read loop", 100*r.Read.Best, 100*r.Read.Median)
	}
	if r.Peak != nil {
		line += fmt.Sprintf("   %3.0f %% (%.0f %%) of the peak", 100*r.Peak.Best, 100*r.Peak.Median)
	}
	return line
}

// String is the roofs, in lines for people. Rows have lines of their own.
func (r Report) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s kernels on %d threads (%s)\n", r.Tier, r.Threads, r.Arch)
	fmt.Fprintf(&s, "%-30s %7.1f GB/s (%.1f)\n", "read loop", r.Read.Best, r.Read.Median)
	for _, p := range r.Peaks {
		fmt.Fprintf(&s, "%-30s %7.1f GOP/s (%.1f)\n", "peak of "+p.Tier, p.GOPs.Best, p.GOPs.Median)
	}
	return strings.TrimSuffix(s.String(), "\n")
}
