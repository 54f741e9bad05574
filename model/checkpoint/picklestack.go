package checkpoint

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
)

// bytes takes the next n bytes of the program.
func (m *pickleMachine) bytes(n int) ([]byte, error) {
	if n < 0 || n > len(m.code)-m.at {
		return nil, fmt.Errorf("%w: the pickle ends in the middle of an instruction", ErrFormat)
	}
	raw := m.code[m.at : m.at+n]
	m.at += n
	return raw, nil
}

func (m *pickleMachine) byte() (byte, error) {
	raw, err := m.bytes(1)
	if err != nil {
		return 0, err
	}
	return raw[0], nil
}

// line takes the bytes up to the next newline.
func (m *pickleMachine) line() (string, error) {
	end := bytes.IndexByte(m.code[m.at:], '\n')
	if end < 0 {
		return "", fmt.Errorf("%w: a global's name has no end", ErrFormat)
	}
	raw, err := m.bytes(end + 1)
	if err != nil {
		return "", err
	}
	return string(raw[:end]), nil
}

// text takes a string with its length before it, in one byte or four.
func (m *pickleMachine) text(op byte) (string, error) {
	var n uint64
	if op == opShortBinUnicode {
		raw, err := m.bytes(1)
		if err != nil {
			return "", err
		}
		n = uint64(raw[0])
	} else {
		raw, err := m.bytes(4)
		if err != nil {
			return "", err
		}
		n = uint64(binary.LittleEndian.Uint32(raw))
	}
	if n > uint64(len(m.code)-m.at) {
		return "", fmt.Errorf("%w: a string of %d bytes is longer than the pickle", ErrFormat, n)
	}
	raw, err := m.bytes(int(n))
	return string(raw), err
}

// long takes an integer of up to eight bytes, as torch.save writes sizes over 2^31.
func (m *pickleMachine) long() (int64, error) {
	n, err := m.byte()
	if err != nil {
		return 0, err
	}
	if n > 8 {
		return 0, fmt.Errorf("%w: an integer of %d bytes, at most 8", ErrLimit, n)
	}
	raw, err := m.bytes(int(n))
	if err != nil {
		return 0, err
	}
	var wide [8]byte
	copy(wide[:], raw)
	if n > 0 && raw[n-1]&0x80 != 0 {
		for i := int(n); i < len(wide); i++ {
			wide[i] = 0xff
		}
	}
	return int64(binary.LittleEndian.Uint64(wide[:])), nil
}

// index takes a memo's number, in one byte or four.
func (m *pickleMachine) index(wide bool) (uint32, error) {
	if !wide {
		b, err := m.byte()
		return uint32(b), err
	}
	raw, err := m.bytes(4)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(raw), nil
}

// push puts a value on the stack.
func (m *pickleMachine) push(value any) error {
	if len(m.stack) >= pickleStackMax {
		return fmt.Errorf("%w: more than %d values on the stack", ErrLimit, pickleStackMax)
	}
	m.stack = append(m.stack, value)
	return nil
}

// pushObject puts a newly made value on the stack and counts it.
func (m *pickleMachine) pushObject(value any) error {
	if m.objects++; m.objects > pickleObjectsMax {
		return fmt.Errorf("%w: more than %d objects", ErrLimit, pickleObjectsMax)
	}
	return m.push(value)
}

// floor is the height below which the open mark protects the stack.
func (m *pickleMachine) floor() int {
	if len(m.marks) == 0 {
		return 0
	}
	return m.marks[len(m.marks)-1]
}

func (m *pickleMachine) pop() (any, error) {
	items, err := m.popN(1)
	if err != nil {
		return nil, err
	}
	return items[0], nil
}

// popN takes the n topmost values, the deepest first.
func (m *pickleMachine) popN(n int) ([]any, error) {
	keep := len(m.stack) - n
	if keep < m.floor() {
		return nil, fmt.Errorf("%w: the pickle takes a value that it never put on the stack", ErrFormat)
	}
	items := slices.Clone(m.stack[keep:])
	m.stack = m.stack[:keep]
	return items, nil
}

// popToMark takes everything above the open mark, and the mark.
func (m *pickleMachine) popToMark() ([]any, error) {
	if len(m.marks) == 0 {
		return nil, fmt.Errorf("%w: the pickle ends a group that it never began", ErrFormat)
	}
	items, err := m.popN(len(m.stack) - m.floor())
	m.marks = m.marks[:len(m.marks)-1]
	return items, err
}

// top is the value that an instruction is about to change.
func (m *pickleMachine) top() (any, error) {
	if len(m.stack) <= m.floor() {
		return nil, fmt.Errorf("%w: the pickle changes a value that it never put on the stack", ErrFormat)
	}
	return m.stack[len(m.stack)-1], nil
}

// remember puts the topmost value in the memo.
func (m *pickleMachine) remember(index uint32) error {
	value, err := m.top()
	if err != nil {
		return err
	}
	m.memo[index] = value
	if len(m.memo) > pickleMemoMax {
		return fmt.Errorf("%w: more than %d memoised values", ErrLimit, pickleMemoMax)
	}
	return nil
}

// extend appends to the list on top of the stack.
func (m *pickleMachine) extend(items []any) error {
	target, err := m.top()
	if err != nil {
		return err
	}
	list, ok := target.(*pickleList)
	if !ok {
		return fmt.Errorf("%w: appends to something that is not a list", ErrFormat)
	}
	list.items = append(list.items, items...)
	return nil
}

// setItems adds pairs of key and value to the dictionary on top of the stack.
func (m *pickleMachine) setItems(items []any) error {
	target, err := m.top()
	if err != nil {
		return err
	}
	dict, ok := target.(*pickleDict)
	if !ok || len(items)%2 != 0 {
		return fmt.Errorf("%w: sets items of something that is not a dictionary", ErrFormat)
	}
	for i := 0; i < len(items); i += 2 {
		dict.keys = append(dict.keys, items[i])
		dict.values = append(dict.values, items[i+1])
	}
	return nil
}
