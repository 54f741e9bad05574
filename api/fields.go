package api

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
)

// fields hands out the members of one object by name and type, and keeps the first mistake. After a mistake it hands out
// defaults, so that a reader needs one check, at its end. A member that is null counts as absent.
type fields struct {
	members object
	path    string // goes before each name in errors: "messages[0]."
	err     *Error
}

// take removes a member and returns it.
func (f *fields) take(name string) (json.RawMessage, bool) {
	raw, ok := f.members[name]
	delete(f.members, name)
	return raw, ok && string(raw) != "null"
}

// fail keeps the first mistake.
func (f *fields) fail(e *Error) {
	if f.err == nil {
		f.err = e
	}
}

func (f *fields) wrongType(name, want string, got json.RawMessage) {
	param := f.path + name
	f.fail(invalid(param, "invalid_type", "Invalid type for '%s': expected %s, but got %s instead.", param, want, kind(got)))
}

func (f *fields) wrongValue(name, format string, args ...any) {
	param := f.path + name
	f.fail(invalid(param, "invalid_value", "Invalid '%s': "+format, append([]any{param}, args...)...))
}

// kind names the type of a JSON value in an error.
func kind(raw json.RawMessage) string {
	switch {
	case len(raw) == 0:
		return "nothing"
	case raw[0] == '"':
		return "a string"
	case raw[0] == '{':
		return "an object"
	case raw[0] == '[':
		return "an array"
	case raw[0] == 't' || raw[0] == 'f':
		return "a boolean"
	case raw[0] == 'n':
		return "null"
	case strings.ContainsAny(string(raw), ".eE"):
		return "a decimal number"
	}
	return "an integer"
}

// integer takes an integer between low and high.
func (f *fields) integer(name string, absent, low, high int64) int64 {
	raw, ok := f.take(name)
	if !ok {
		return absent
	}
	v, ok := parseInteger(raw)
	param := f.path + name
	switch {
	case !ok:
		f.wrongType(name, "an integer", raw)
	case v < low:
		f.fail(invalid(param, "integer_below_min_value",
			"Invalid '%s': integer below minimum value. Expected a value >= %d, but got %d instead.", param, low, v))
	case v > high:
		f.fail(invalid(param, "integer_above_max_value",
			"Invalid '%s': integer above maximum value. Expected a value <= %d, but got %d instead.", param, high, v))
	default:
		return v
	}
	return absent
}

// parseInteger accepts what is an integer, also when it is written 16.0 or 1e3. A number beyond int64 is cut to its ends, for
// the range check that follows.
func parseInteger(raw json.RawMessage) (int64, bool) {
	if len(raw) == 0 || raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
		return 0, false
	}
	if v, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		return v, true
	}
	v, err := strconv.ParseFloat(string(raw), 64)
	switch {
	case err == nil && v != math.Trunc(v):
		return 0, false
	case v >= math.MaxInt64:
		return math.MaxInt64, true
	case v <= math.MinInt64:
		return math.MinInt64, true
	}
	return int64(v), true
}

// number takes a number between low and high.
func (f *fields) number(name string, absent, low, high float64) float64 {
	raw, ok := f.take(name)
	if !ok {
		return absent
	}
	v, ok := parseNumber(raw)
	param := f.path + name
	switch {
	case !ok:
		f.wrongType(name, "a decimal", raw)
	case v < low:
		f.fail(invalid(param, "decimal_below_min_value",
			"Invalid '%s': decimal below minimum value. Expected a value >= %v, but got %v instead.", param, low, v))
	case v > high:
		f.fail(invalid(param, "decimal_above_max_value",
			"Invalid '%s': decimal above maximum value. Expected a value <= %v, but got %v instead.", param, high, v))
	default:
		return v
	}
	return absent
}

func parseNumber(raw json.RawMessage) (float64, bool) {
	if len(raw) == 0 || raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
		return 0, false
	}
	v, _ := strconv.ParseFloat(string(raw), 64) // the only error left is the range, and then v is an infinity
	return v, true
}

// boolean takes true or false.
func (f *fields) boolean(name string, absent bool) bool {
	raw, ok := f.take(name)
	if !ok {
		return absent
	}
	switch string(raw) {
	case "true":
		return true
	case "false":
		return false
	}
	f.wrongType(name, "a boolean", raw)
	return absent
}

// text takes a string of at most most bytes.
func (f *fields) text(name, absent string, most int) string {
	raw, ok := f.take(name)
	if !ok {
		return absent
	}
	if raw[0] != '"' {
		f.wrongType(name, "a string", raw)
		return absent
	}
	s := unquote(raw)
	if len(s) > most {
		f.wrongValue(name, "string too long. Expected at most %d bytes, but got %d instead.", most, len(s))
		return absent
	}
	return s
}

// list takes an array of at most most values.
func (f *fields) list(name string, most int) []json.RawMessage {
	raw, ok := f.take(name)
	if !ok {
		return nil
	}
	var values []json.RawMessage
	if raw[0] != '[' || json.Unmarshal(raw, &values) != nil {
		f.wrongType(name, "an array", raw)
		return nil
	}
	if len(values) > most {
		f.fail(invalid(f.path+name, "array_above_max_length",
			"Invalid '%s': array too long. Expected an array with maximum length %d, but got an array with length %d instead.",
			f.path+name, most, len(values)))
		return nil
	}
	return values
}

// tokens takes an array of token ids of a vocabulary.
func (f *fields) tokens(name string, most, vocabulary int) []int32 {
	values := f.list(name, most)
	ids := make([]int32, 0, len(values))
	for i, raw := range values {
		v, ok := parseInteger(raw)
		if !ok {
			f.wrongType(name+"["+strconv.Itoa(i)+"]", "a token id", raw)
			return nil
		}
		if v < 0 || v >= int64(vocabulary) {
			f.wrongValue(name+"["+strconv.Itoa(i)+"]", "token id %d is not in the vocabulary of %d tokens.", v, vocabulary)
			return nil
		}
		ids = append(ids, int32(v))
	}
	return ids
}

// inner takes an object, whose own members are then read under "name.". It returns nil when the member is absent.
func (f *fields) inner(name string) *fields {
	raw, ok := f.take(name)
	if !ok {
		return nil
	}
	in := &fields{path: f.path + name + "."}
	if raw[0] != '{' || json.Unmarshal(raw, &in.members) != nil {
		f.wrongType(name, "an object", raw)
		return nil
	}
	return in
}

// close ends the reading of an inner object: it checks for unknown names and hands the first mistake up.
func (f *fields) close(in *fields) {
	in.end()
	if in.err != nil {
		f.fail(in.err)
	}
}

// ignore drops members that are known and change nothing here.
func (f *fields) ignore(names ...string) {
	for _, n := range names {
		delete(f.members, n)
	}
}

// refuse fails for a member that asks for something this server does not do. Values that ask for nothing (null, false, 0,
// an empty array, object or string) pass.
func (f *fields) refuse(name, why string) {
	raw, ok := f.take(name)
	if !ok {
		return
	}
	switch strings.Join(strings.Fields(string(raw)), "") {
	case "false", "[]", "{}", `""`, "0", "0.0":
		return
	}
	f.fail(unsupported(f.path+name, why))
}

// end fails when a member is left that nobody took: it is misspelt or unknown, and to ignore it would answer another question
// than the one asked.
func (f *fields) end() {
	if f.err != nil || len(f.members) == 0 {
		return
	}
	names := make([]string, 0, len(f.members))
	for n, raw := range f.members {
		if string(raw) != "null" {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return
	}
	slices.Sort(names)
	name := names[0]
	if len(name) > 64 {
		name = strings.ToValidUTF8(name[:64], "") + "…"
	}
	param := f.path + name
	f.fail(invalid(param, "unknown_parameter", "Unknown parameter: '%s'.", param))
}
