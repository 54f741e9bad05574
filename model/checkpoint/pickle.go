package checkpoint

import (
	"encoding/binary"
	"fmt"
	"math"
)

// A pickle is a program for a stack machine. This one knows the instructions that
// torch.save writes (protocols 2 to 5) and can build strings, numbers, tuples, lists,
// dictionaries, storages and tensors. Everything that calls code in Python is refused by
// name, whether or not the program gets that far with it.
//
// Source of the instruction set: Lib/pickletools.py of CPython.

// Values on the stack, besides nil, bool, int64, float64 and string.
type (
	pickleTuple []any
	pickleList  struct{ items []any }
	pickleDict  struct {
		keys    []any
		values  []any
		ordered bool // a collections.OrderedDict, which may carry attributes
	}
	pickleGlobal string // "module.name", one of the allowed
)

// pickleMachine runs one pickle.
type pickleMachine struct {
	code    []byte
	at      int // position of the next byte
	stack   []any
	marks   []int // stack heights at the open MARKs
	memo    map[uint32]any
	objects int
	// storages holds one storage for each key, so that shared ones stay shared.
	storages map[string]*pickleStorage
}

// runPickle gives the value that the pickle leaves. Errors wrap ErrFormat, ErrLimit or
// ErrUnsafePickle and name the position.
func runPickle(code []byte) (any, error) {
	if len(code) > pickleBytesMax {
		return nil, fmt.Errorf("%w: pickle of %d bytes, at most %d", ErrLimit, len(code), pickleBytesMax)
	}
	m := &pickleMachine{code: code, memo: map[uint32]any{}, storages: map[string]*pickleStorage{}}
	for {
		start := m.at
		result, done, err := m.step()
		if err != nil {
			return nil, fmt.Errorf("pickle byte %d: %w", start, err)
		}
		if done {
			return result, nil
		}
	}
}

// Instructions, by CPython's names.
const (
	opMark            = '('
	opStop            = '.'
	opPop             = '0'
	opPopMark         = '1'
	opBinFloat        = 'G'
	opBinInt          = 'J'
	opBinInt1         = 'K'
	opBinInt2         = 'M'
	opNone            = 'N'
	opBinPersID       = 'Q'
	opReduce          = 'R'
	opBinUnicode      = 'X'
	opAppend          = 'a'
	opBuild           = 'b'
	opGlobal          = 'c'
	opAppends         = 'e'
	opBinGet          = 'h'
	opLongBinGet      = 'j'
	opEmptyList       = ']'
	opBinPut          = 'q'
	opLongBinPut      = 'r'
	opSetItem         = 's'
	opTuple           = 't'
	opEmptyTuple      = ')'
	opSetItems        = 'u'
	opEmptyDict       = '}'
	opProto           = 0x80
	opTuple1          = 0x85
	opTuple2          = 0x86
	opTuple3          = 0x87
	opNewTrue         = 0x88
	opNewFalse        = 0x89
	opLong1           = 0x8a
	opShortBinUnicode = 0x8c
	opStackGlobal     = 0x93
	opMemoize         = 0x94
	opFrame           = 0x95
)

// refusedOps are the instructions with which other pickles create or alter objects of
// arbitrary classes.
var refusedOps = map[byte]string{
	'i': "INST", 'o': "OBJ", 'P': "PERSID", 0x81: "NEWOBJ", 0x92: "NEWOBJ_EX",
	0x82: "EXT1", 0x83: "EXT2", 0x84: "EXT4", 0x96: "BYTEARRAY8", 0x97: "NEXT_BUFFER", 0x98: "READONLY_BUFFER",
}

// pickleProtocolMax is the newest protocol whose instructions are known here.
const pickleProtocolMax = 5

// step runs one instruction; done says that it was STOP.
func (m *pickleMachine) step() (result any, done bool, err error) {
	op, err := m.byte()
	if err != nil {
		return nil, false, err
	}
	switch op {
	case opStop:
		result, err = m.pop()
		return result, true, err
	case opProto:
		version, err := m.byte()
		if err == nil && (version < 2 || version > pickleProtocolMax) {
			err = fmt.Errorf("%w: pickle protocol %d, want 2 to %d", ErrFormat, version, pickleProtocolMax)
		}
		return nil, false, err
	case opFrame:
		_, err = m.bytes(8)
		return nil, false, err
	case opMark:
		if len(m.marks) >= pickleStackMax {
			return nil, false, fmt.Errorf("%w: more than %d open marks", ErrLimit, pickleStackMax)
		}
		m.marks = append(m.marks, len(m.stack))
		return nil, false, nil
	case opPop:
		_, err = m.pop()
		return nil, false, err
	case opPopMark:
		_, err = m.popToMark()
		return nil, false, err
	}
	if known, err := m.stepScalar(op); known || err != nil {
		return nil, false, err
	}
	if known, err := m.stepMemo(op); known || err != nil {
		return nil, false, err
	}
	if known, err := m.stepContainer(op); known || err != nil {
		return nil, false, err
	}
	if known, err := m.stepObject(op); known || err != nil {
		return nil, false, err
	}
	if name, refused := refusedOps[op]; refused {
		return nil, false, fmt.Errorf("%w: instruction %s", ErrUnsafePickle, name)
	}
	return nil, false, fmt.Errorf("%w: instruction 0x%02x is none that torch.save writes", ErrFormat, op)
}

// stepScalar runs the instructions that push constants.
func (m *pickleMachine) stepScalar(op byte) (known bool, err error) {
	var raw []byte
	switch op {
	case opNone:
		return true, m.push(nil)
	case opNewTrue:
		return true, m.push(true)
	case opNewFalse:
		return true, m.push(false)
	case opBinInt:
		if raw, err = m.bytes(4); err != nil {
			return true, err
		}
		return true, m.push(int64(int32(binary.LittleEndian.Uint32(raw))))
	case opBinInt1:
		if raw, err = m.bytes(1); err != nil {
			return true, err
		}
		return true, m.push(int64(raw[0]))
	case opBinInt2:
		if raw, err = m.bytes(2); err != nil {
			return true, err
		}
		return true, m.push(int64(binary.LittleEndian.Uint16(raw)))
	case opLong1:
		value, err := m.long()
		if err != nil {
			return true, err
		}
		return true, m.push(value)
	case opBinFloat:
		if raw, err = m.bytes(8); err != nil {
			return true, err
		}
		return true, m.push(math.Float64frombits(binary.BigEndian.Uint64(raw)))
	case opBinUnicode, opShortBinUnicode:
		text, err := m.text(op)
		if err != nil {
			return true, err
		}
		return true, m.push(text)
	}
	return false, nil
}

// stepMemo runs the instructions that remember and recall values.
func (m *pickleMachine) stepMemo(op byte) (known bool, err error) {
	switch op {
	case opBinPut, opLongBinPut:
		index, err := m.index(op == opLongBinPut)
		if err != nil {
			return true, err
		}
		return true, m.remember(index)
	case opMemoize:
		return true, m.remember(uint32(len(m.memo)))
	case opBinGet, opLongBinGet:
		index, err := m.index(op == opLongBinGet)
		if err != nil {
			return true, err
		}
		value, ok := m.memo[index]
		if !ok {
			return true, fmt.Errorf("%w: recalls memo %d, which was never set", ErrFormat, index)
		}
		return true, m.push(value)
	}
	return false, nil
}

// stepContainer runs the instructions that build tuples, lists and dictionaries.
func (m *pickleMachine) stepContainer(op byte) (known bool, err error) {
	switch op {
	case opEmptyTuple:
		return true, m.push(pickleTuple{})
	case opTuple1, opTuple2, opTuple3:
		items, err := m.popN(int(op-opTuple1) + 1)
		if err != nil {
			return true, err
		}
		return true, m.pushObject(pickleTuple(items))
	case opTuple:
		items, err := m.popToMark()
		if err != nil {
			return true, err
		}
		return true, m.pushObject(pickleTuple(items))
	case opEmptyList:
		return true, m.pushObject(&pickleList{})
	case opEmptyDict:
		return true, m.pushObject(&pickleDict{})
	case opAppend:
		items, err := m.popN(1)
		if err != nil {
			return true, err
		}
		return true, m.extend(items)
	case opAppends:
		items, err := m.popToMark()
		if err != nil {
			return true, err
		}
		return true, m.extend(items)
	case opSetItem:
		items, err := m.popN(2)
		if err != nil {
			return true, err
		}
		return true, m.setItems(items)
	case opSetItems:
		items, err := m.popToMark()
		if err != nil {
			return true, err
		}
		return true, m.setItems(items)
	}
	return false, nil
}

// stepObject runs the instructions that name and call globals; torch.go has what they may do.
func (m *pickleMachine) stepObject(op byte) (known bool, err error) {
	switch op {
	case opGlobal:
		module, err := m.line()
		if err != nil {
			return true, err
		}
		name, err := m.line()
		if err != nil {
			return true, err
		}
		return true, m.pushGlobal(module, name)
	case opStackGlobal:
		parts, err := m.popN(2)
		if err != nil {
			return true, err
		}
		module, isText := parts[0].(string)
		name, isTextToo := parts[1].(string)
		if !isText || !isTextToo {
			return true, fmt.Errorf("%w: the name of a global is not text", ErrFormat)
		}
		return true, m.pushGlobal(module, name)
	case opReduce:
		parts, err := m.popN(2)
		if err != nil {
			return true, err
		}
		return true, m.call(parts[0], parts[1])
	case opBuild:
		parts, err := m.popN(1)
		if err != nil {
			return true, err
		}
		return true, m.setState(parts[0])
	case opBinPersID:
		parts, err := m.popN(1)
		if err != nil {
			return true, err
		}
		return true, m.pushStorage(parts[0])
	}
	return false, nil
}
