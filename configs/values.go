package configs

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Value is a setting as text. It is also what pflag asks of a flag.
type Value interface {
	String() string
	Set(text string) error
	Type() string
}

// Bytes is a size in bytes, written like 512MiB, 8GB or 0.
type Bytes int64

var byteUnits = []struct {
	suffix string
	factor float64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
}

// String writes the size in the largest binary unit that gives at least one.
func (b Bytes) String() string {
	for _, unit := range byteUnits[:4] {
		if float64(b) >= unit.factor {
			return strconv.FormatFloat(float64(b)/unit.factor, 'f', 1, 64) + " " + unit.suffix
		}
	}
	return strconv.FormatInt(int64(b), 10) + " B"
}

// ParseBytes reads a size; a number alone is bytes.
func ParseBytes(text string) (Bytes, error) {
	number, factor := strings.TrimSpace(text), 1.0
	for _, unit := range byteUnits {
		if rest, ok := strings.CutSuffix(number, unit.suffix); ok {
			number, factor = strings.TrimSpace(rest), unit.factor
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !(n >= 0) || n*factor > 1<<60 {
		return 0, fmt.Errorf("%q is not a size such as 8GiB or 512MB", text)
	}
	return Bytes(n * factor), nil
}

type stringValue struct{ p *string }

func (v stringValue) String() string        { return *v.p }
func (v stringValue) Set(text string) error { *v.p = text; return nil }
func (stringValue) Type() string            { return "string" }

type intValue struct{ p *int }

func (v intValue) String() string { return strconv.Itoa(*v.p) }
func (intValue) Type() string     { return "int" }
func (v intValue) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("%q is not a whole number", text)
	}
	*v.p = n
	return nil
}

// autoIntValue is a whole number of which 0 is for the node to choose.
type autoIntValue struct{ p *int }

func (autoIntValue) Type() string { return "int" }
func (v autoIntValue) String() string {
	if *v.p == 0 {
		return "auto"
	}
	return strconv.Itoa(*v.p)
}
func (v autoIntValue) Set(text string) error {
	if text == "auto" {
		*v.p = 0
		return nil
	}
	return intValue(v).Set(text)
}

type boolValue struct{ p *bool }

func (v boolValue) String() string { return strconv.FormatBool(*v.p) }
func (boolValue) Type() string     { return "bool" }
func (v boolValue) Set(text string) error {
	b, err := strconv.ParseBool(text)
	if err != nil {
		return fmt.Errorf("%q is neither true nor false", text)
	}
	*v.p = b
	return nil
}

type durationValue struct{ p *time.Duration }

func (v durationValue) String() string { return v.p.String() }
func (durationValue) Type() string     { return "duration" }
func (v durationValue) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 20s", text)
	}
	*v.p = d
	return nil
}

type bytesValue struct{ p *Bytes }

func (bytesValue) Type() string { return "size" }
func (v bytesValue) String() string {
	if *v.p == 0 {
		return "auto"
	}
	return v.p.String()
}
func (v bytesValue) Set(text string) error {
	if text == "auto" {
		*v.p = 0
		return nil
	}
	n, err := ParseBytes(text)
	if err == nil {
		*v.p = n
	}
	return err
}

// listValue is separated by commas.
type listValue struct{ p *[]string }

func (v listValue) String() string { return strings.Join(*v.p, ",") }
func (listValue) Type() string     { return "list" }
func (v listValue) Set(text string) error {
	*v.p = nil
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			*v.p = append(*v.p, item)
		}
	}
	return nil
}
