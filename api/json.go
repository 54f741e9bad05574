package api

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// depthMax is how deep the arrays and objects of a body may nest. The deepest field there is (a content part's inner object)
// stands at depth five.
const depthMax = 16

// object is a JSON object whose values are still to be decoded.
type object map[string]json.RawMessage

// parseObject reads a body that must be one JSON object and nothing else. Beyond what encoding/json refuses it refuses
// invalid UTF-8, deep nesting and a name given twice in one object, because two readers may choose differently between them.
func parseObject(body []byte) (object, *Error) {
	if !utf8.Valid(body) {
		return nil, badBody("the body is not valid UTF-8")
	}
	if !json.Valid(body) {
		return nil, badBody(syntaxError(body))
	}
	if err := checkShape(body); err != nil {
		return nil, badBody(err.Error())
	}
	var o object
	if err := json.Unmarshal(body, &o); err != nil || o == nil {
		return nil, badBody("the body must be a JSON object")
	}
	return o, nil
}

func badBody(why string) *Error {
	return invalid("", "invalid_json", "We could not parse the JSON body of your request: %s.", why)
}

// syntaxError says where encoding/json gave up, without quoting the body.
func syntaxError(body []byte) string {
	if len(body) == 0 {
		return "the body is empty"
	}
	var v json.RawMessage
	err := json.Unmarshal(body, &v)
	if s, ok := err.(*json.SyntaxError); ok {
		return fmt.Sprintf("not valid JSON at byte %d", s.Offset)
	}
	return "not valid JSON"
}

// checkShape refuses deep nesting and repeated names in a text that is known to be valid JSON, in one pass.
func checkShape(b []byte) error {
	type level struct {
		names map[string]struct{} // nil in an array
		name  bool                // the next string is a name
	}
	var levels []level
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '{', '[':
			if len(levels) == depthMax {
				return fmt.Errorf("it nests deeper than %d levels", depthMax)
			}
			l := level{}
			if b[i] == '{' {
				l = level{names: map[string]struct{}{}, name: true}
			}
			levels = append(levels, l)
		case '}', ']':
			levels = levels[:len(levels)-1]
		case ',':
			top := &levels[len(levels)-1]
			top.name = top.names != nil
		case '"':
			end := stringEnd(b, i)
			if len(levels) > 0 && levels[len(levels)-1].name {
				top := &levels[len(levels)-1]
				top.name = false
				name := unquote(b[i:end])
				if _, twice := top.names[name]; twice {
					return fmt.Errorf("the name at byte %d is given twice in one object", i)
				}
				top.names[name] = struct{}{}
			}
			i = end - 1
		}
	}
	return nil
}

// stringEnd returns the index after the JSON string that begins at b[i].
func stringEnd(b []byte, i int) int {
	for i++; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// unquote decodes a valid JSON string.
func unquote(quoted []byte) string {
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		return string(quoted)
	}
	return s
}
