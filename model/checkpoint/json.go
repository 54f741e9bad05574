package checkpoint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// eachField calls visit for every member of a JSON object, in order, with the raw text of
// its value. A name that occurs twice is refused, as two readers could then see two files;
// so is anything after the object. Errors wrap ErrFormat or are visit's.
func eachField(text []byte, visit func(name string, value json.RawMessage) error) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber() // numbers stay text: an error about one that does not fit would repeat all of it
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return fmt.Errorf("%w: not a JSON object%s", ErrFormat, cause(err))
	}
	seen := make(map[string]bool)
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return fmt.Errorf("%w: JSON at byte %d%s", ErrFormat, decoder.InputOffset(), cause(err))
		}
		name, ok := token.(string)
		if !ok {
			return fmt.Errorf("%w: JSON at byte %d: a name that is not text", ErrFormat, decoder.InputOffset())
		}
		if seen[name] {
			return fmt.Errorf("%w: JSON name %s occurs twice", ErrFormat, show(name))
		}
		seen[name] = true
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return fmt.Errorf("%w: JSON value of %s%s", ErrFormat, show(name), cause(err))
		}
		if err := visit(name, value); err != nil {
			return err
		}
	}
	if _, err := decoder.Token(); err != nil { // the closing brace
		return fmt.Errorf("%w: JSON at byte %d%s", ErrFormat, decoder.InputOffset(), cause(err))
	}
	if _, err := decoder.Token(); err != io.EOF {
		return fmt.Errorf("%w: JSON at byte %d: something follows the object", ErrFormat, decoder.InputOffset())
	}
	return nil
}

// cause renders the reason behind a JSON error, if there is one; an early end is the reason
// that users meet most, after a download that broke off.
func cause(err error) string {
	switch err {
	case nil:
		return ""
	case io.EOF, io.ErrUnexpectedEOF:
		return ": the text ends too early"
	}
	return ": " + err.Error()
}
