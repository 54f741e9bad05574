package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// badPickle is a program that the machine must refuse.
type badPickle struct {
	name string
	code []byte
	want error
	part string
}

// raw strings together a pickle of protocol 2 from instructions and their arguments.
func raw(parts ...any) []byte {
	w := newPickle(2)
	for _, part := range parts {
		switch part := part.(type) {
		case int:
			w.raw(byte(part))
		case rune:
			w.raw(byte(part))
		case string:
			w.code = append(w.code, part...)
		case []byte:
			w.raw(part...)
		default:
			panic(fmt.Sprintf("%T in a pickle", part))
		}
	}
	return w.code
}

// global writes the instruction that asks for a global.
func global(module, name string) string { return "c" + module + "\n" + name + "\n" }

// view writes a pickle of one tensor with the given numbers in a storage of 100 floats.
func view(offset int64, shape, stride []int64) []byte {
	return newPickle(2).raw(opEmptyDict).text("t").tensor(fileTensor{dtype: float32t, key: "0", elements: 100,
		offset: offset, shape: shape, stride: stride}).raw(opSetItem).stop()
}

// badPickles lists what hostile and broken pickles do.
func badPickles() []badPickle {
	tensorGlobal := global("torch._utils", "_rebuild_tensor_v2")
	list := []badPickle{
		// Code.
		{"os.system called", raw(global("os", "system"), '(', "X\x02\x00\x00\x00id", 't', 'R', '.'), ErrUnsafePickle, `"os.system"`},
		{"os.system named, never called", raw(global("posix", "system"), '0', '}', '.'), ErrUnsafePickle, `"posix.system"`},
		{"eval", raw(global("__builtin__", "eval"), '.'), ErrUnsafePickle, `"__builtin__.eval"`},
		{"protocol 4 global", newPickle(4).global("subprocess", "Popen").stop(), ErrUnsafePickle, `"subprocess.Popen"`},
		{"name with a dot", newPickle(4).global("collections", "OrderedDict.__init__").stop(), ErrUnsafePickle, "__init__"},
		{"torch's loader", raw(global("torch.storage", "_load_from_bytes"), '.'), ErrUnsafePickle, "_load_from_bytes"},
		{"torch.load", raw(global("torch", "load"), '.'), ErrUnsafePickle, `"torch.load"`},
		{"the older rebuild", raw(global("torch._utils", "_rebuild_tensor"), '.'), ErrUnsafePickle, "_rebuild_tensor"},
		{"numpy", raw(global("numpy.core.multiarray", "_reconstruct"), '.'), ErrUnsafePickle, "_reconstruct"},
		{"a quantised storage", raw(global("torch", "QInt8Storage"), '.'), ErrUnsafePickle, "QInt8Storage"},
		{"a storage of another module", raw(global("evil", "FloatStorage"), '.'), ErrUnsafePickle, "evil.FloatStorage"},
		{"empty names", raw(global("", ""), '.'), ErrUnsafePickle, `"."`},
		{"long name", raw(global("m", strings.Repeat("x", 1<<20)), '.'), ErrUnsafePickle, "xxx…"},
		{"INST", raw('(', "iposix\nsystem\n", '.'), ErrUnsafePickle, "INST"},
		{"OBJ", raw('(', 'o', '.'), ErrUnsafePickle, "OBJ"},
		{"NEWOBJ", raw(global("collections", "OrderedDict"), ')', 0x81, '.'), ErrUnsafePickle, "NEWOBJ"},
		{"NEWOBJ_EX", raw(0x92, '.'), ErrUnsafePickle, "NEWOBJ_EX"},
		{"EXT1", raw(0x82, 1, '.'), ErrUnsafePickle, "EXT1"},
		{"text PERSID", raw("Pstorage\n", '.'), ErrUnsafePickle, "PERSID"},
		{"NEXT_BUFFER", raw(0x97, '.'), ErrUnsafePickle, "NEXT_BUFFER"},
		{"BUILD on a tensor", newPickle(2).tensor(fileTensor{dtype: float32t, key: "0", elements: 1}).raw('}', 'b', '.').code, ErrUnsafePickle, "state"},
		{"BUILD on a plain dictionary", raw('}', '}', 'b', '.'), ErrUnsafePickle, "state"},
		{"BUILD on a function", raw(tensorGlobal, '}', 'b', '.'), ErrUnsafePickle, "state"},
		{"BUILD with a list", raw(global("collections", "OrderedDict"), ')', 'R', ']', 'b', '.'), ErrFormat, "state"},
		{"call of a string", raw("X\x01\x00\x00\x00f", ')', 'R', '.'), ErrUnsafePickle, "calls"},
		{"call of a storage class", raw(global("torch", "FloatStorage"), ')', 'R', '.'), ErrUnsafePickle, "calls"},
		{"call of a tuple", raw(')', ')', 'R', '.'), ErrUnsafePickle, "calls"},
		{"call without a tuple", raw(global("collections", "OrderedDict"), '}', 'R', '.'), ErrFormat, "tuple"},
		{"OrderedDict of pairs", raw(global("collections", "OrderedDict"), ']', 0x85, 'R', '.'), ErrFormat, "OrderedDict"},
		// The machine.
		{"empty", nil, ErrFormat, "ends"},
		{"only a protocol", raw(), ErrFormat, "ends"},
		{"protocol 0", []byte{opProto, 0, 'N', '.'}, ErrFormat, "protocol 0"},
		{"protocol 6", []byte{opProto, 6, 'N', '.'}, ErrFormat, "protocol 6"},
		{"STOP without a value", raw('.'), ErrFormat, "never put"},
		{"unknown instruction", raw(0xff, '.'), ErrFormat, "0xff"},
		{"text integers", raw("I1\n", '.'), ErrFormat, "0x49"},
		{"POP of nothing", raw('0', '.'), ErrFormat, "never put"},
		{"POP through a mark", raw('N', '(', '0', '.'), ErrFormat, "never put"},
		{"POP through a mark to another value", raw('N', 'N', '(', '0', '.'), ErrFormat, "never put"},
		{"TUPLE without a mark", raw('N', 't', '.'), ErrFormat, "never began"},
		{"TUPLE2 of one", raw('N', 0x86, '.'), ErrFormat, "never put"},
		{"memo of nothing", raw('h', 7, '.'), ErrFormat, "memo 7"},
		{"PUT of nothing", raw('q', 0, '.'), ErrFormat, "never put"},
		{"SETITEMS odd", raw('}', '(', 'N', 'u', '.'), ErrFormat, "dictionary"},
		{"SETITEM on a list", raw(']', 'N', 'N', 's', '.'), ErrFormat, "dictionary"},
		{"APPEND to a dictionary", raw('}', 'N', 'a', '.'), ErrFormat, "list"},
		{"APPENDS under a mark", raw(']', '(', '(', 'e', '.'), ErrFormat, "never put"},
		{"string longer than the pickle", raw("X\xff\xff\xff\xff", '.'), ErrFormat, "longer"},
		{"string cut off", raw("X\x05\x00\x00\x00ab"), ErrFormat, "longer"},
		{"integer of 9 bytes", raw(0x8a, 9, "123456789", '.'), ErrLimit, "9 bytes"},
		{"global without an end", raw("cos"), ErrFormat, "no end"},
		{"STACK_GLOBAL of numbers", raw('K', 1, 'K', 2, 0x93, '.'), ErrFormat, "not text"},
		{"too many values", raw(bytes.Repeat([]byte("N"), pickleStackMax+1), '.'), ErrLimit, "stack"},
		{"too many marks", raw(bytes.Repeat([]byte("("), pickleStackMax+1), '.'), ErrLimit, "marks"},
		{"too many objects", raw(bytes.Repeat([]byte("]0"), pickleObjectsMax+1), '.'), ErrLimit, "objects"},
		{"too large", bytes.Repeat([]byte("N"), pickleBytesMax+1), ErrLimit, "bytes"},
		{"memo overflow", memoOverflow(), ErrLimit, "memo"},
		// Tensors.
		{"not a dictionary", raw('N', '.'), ErrFormat, "not a dictionary"},
		{"list of tensors", raw(']', '.'), ErrFormat, "not a dictionary"},
		{"number for a name", raw('}', 'K', 1, 'N', 's', '.'), ErrFormat, "no name"},
		{"empty name", raw('}', "X\x00\x00\x00\x00", 'N', 's', '.'), ErrLimit, "name"},
		{"tensor twice", raw('}', '(', "X\x01\x00\x00\x00a", 'N', "X\x01\x00\x00\x00a", 'N', 'u', '.'), ErrFormat, "twice"},
		{"tensor without arguments", raw(tensorGlobal, ')', 'R', '.'), ErrFormat, "0 arguments"},
		{"tensor without a storage", raw(tensorGlobal, '(', "NNNNNN", 't', 'R', '.'), ErrFormat, "without a storage"},
		{"parameter without a tensor", raw(global("torch._utils", "_rebuild_parameter"), '(', "NNN", 't', 'R', '.'), ErrFormat, "parameter"},
		{"storage id of a string", raw("X\x01\x00\x00\x00s", 'Q', '.'), ErrFormat, "persistent"},
		{"storage id of four", raw('(', "X\x07\x00\x00\x00storage", "NNN", 't', 'Q', '.'), ErrFormat, "persistent"},
		{"storage of no class", raw('(', "X\x07\x00\x00\x00storage", "NNNN", 't', 'Q', '.'), ErrFormat, "class"},
		{"storage class that is a function", raw('(', "X\x07\x00\x00\x00storage", tensorGlobal, "NNN", 't', 'Q', '.'), ErrFormat, "class"},
		{"storage without a key", raw('(', "X\x07\x00\x00\x00storage", global("torch", "FloatStorage"), "NNN", 't', 'Q', '.'), ErrFormat, "key"},
		{"storage of -1", newPickle(2).storage("FloatStorage", "0", -1).stop(), ErrFormat, "impossible"},
		{"storage of 2^62", newPickle(2).storage("FloatStorage", "0", 1<<62).stop(), ErrFormat, "impossible"},
		{"storage of two types", newPickle(2).storage("FloatStorage", "0", 8).storage("HalfStorage", "0", 8).stop(), ErrFormat, "twice"},
		{"storage of two sizes", newPickle(2).storage("FloatStorage", "0", 8).storage("FloatStorage", "0", 9).stop(), ErrFormat, "twice"},
		{"storage that is not there", newPickle(2).raw('}').text("t").tensor(fileTensor{dtype: float32t, key: "../0", elements: 1}).raw('s').stop(),
			ErrFormat, `"data/../0"`},
		{"storage shorter than said", newPickle(2).raw('}').text("t").tensor(fileTensor{dtype: float32t, key: "0", elements: 101}).raw('s').stop(),
			ErrFormat, "400 bytes, want 404"},
		{"storage longer than said", newPickle(2).raw('}').text("t").tensor(fileTensor{dtype: float32t, key: "0", elements: 99}).raw('s').stop(),
			ErrFormat, "400 bytes, want 396"},
	}
	for _, v := range []struct {
		name          string
		offset        int64
		shape, stride []int64
		want          error
		part          string
	}{
		{"one element outside", 1, []int64{100}, []int64{1}, ErrFormat, "outside"},
		{"scalar behind the end", 100, nil, nil, ErrFormat, "outside"},
		{"offset behind the end", 101, []int64{0}, []int64{1}, ErrFormat, "starts at"},
		{"offset of -1", -1, []int64{1}, []int64{1}, ErrFormat, "starts at"},
		{"offset of 2^62", 1 << 62, []int64{1}, []int64{1}, ErrFormat, "starts at"},
		{"stride outside", 0, []int64{2, 2}, []int64{99, 1}, ErrFormat, "outside"},
		{"stride of -1", 99, []int64{2}, []int64{-1}, ErrFormat, "negative"},
		{"stride that overflows", 0, []int64{1<<48 - 1, 2}, []int64{1 << 48, 1}, ErrFormat, "outside"},
		{"strides whose sum overflows", 0, []int64{1<<14 + 1, 1<<14 + 1}, []int64{1 << 48, 1 << 48}, ErrFormat, "outside"},
		{"shape of -1", 0, []int64{-1}, []int64{1}, ErrFormat, "negative"},
		{"shape over the limit", 0, []int64{1<<48 + 1}, []int64{0}, ErrLimit, "dimension"},
		{"shape that overflows", 0, []int64{1 << 40, 1 << 40}, []int64{0, 0}, ErrLimit, "shape"},
		{"strides missing", 0, []int64{2, 2}, []int64{1}, ErrFormat, "strides"},
		{"nine dimensions", 0, []int64{1, 1, 1, 1, 1, 1, 1, 1, 1}, []int64{1, 1, 1, 1, 1, 1, 1, 1, 1}, ErrLimit, "9 dimensions"},
	} {
		list = append(list, badPickle{v.name, view(v.offset, v.shape, v.stride), v.want, v.part})
	}
	return list
}

// memoOverflow memoises one value too often.
func memoOverflow() []byte {
	w := newPickle(2).raw('N')
	for i := range uint32(pickleMemoMax + 1) {
		w.raw(opLongBinPut)
		w.code = binary.LittleEndian.AppendUint32(w.code, i)
	}
	return w.stop()
}

// TestHostilePickles refuses each pickle within a sound archive that has a storage of 100
// floats.
func TestHostilePickles(t *testing.T) {
	storage := []fileTensor{{key: "0", data: make([]byte, 400)}}
	bin := weightKinds[1].single
	var cases []hostile
	for _, bad := range badPickles() {
		archive := torchArchive(bad.code, storage, zipStyle{}).encode()
		cases = append(cases, hostile{bad.name, broken(variant{}, bin, archive), bad.want, []string{bin, bad.part}})
	}
	checkHostile(t, cases)
}

// TestPickleCutAnywhere runs every beginning of a good pickle: all must be refused.
func TestPickleCutAnywhere(t *testing.T) {
	for _, style := range []pickleStyle{{ordered: true}, {protocol: 4, parameters: true}} {
		code := pickleTensors(variant{masks: true}.tensors()[20:], style)
		if _, err := runPickle(code); err != nil {
			t.Fatal(err)
		}
		for n := range len(code) {
			if _, err := runPickle(code[:n]); !errors.Is(err, ErrFormat) {
				t.Fatalf("first %d of %d bytes: %v, want ErrFormat", n, len(code), err)
			}
		}
	}
}

// TestPickleExtras runs what sound pickles may hold beside tensors.
func TestPickleExtras(t *testing.T) {
	code := newPickle(2).raw('}').put().raw('(').
		text("epoch").int(-3).
		text("loss").raw('G', 0x3f, 0xf0, 0, 0, 0, 0, 0, 0).
		text("big").int(-1<<40).
		text("list").raw(']', '(', 'N', opNewTrue, 'e', 'N', 'a').
		text("popped").raw('(', 'N', 'N', '1', 'N').
		text("w").tensor(fileTensor{dtype: float32t, key: "0", elements: 6, shape: []int64{2, 3}, stride: []int64{3, 1}}).
		text("empty").tensor(fileTensor{dtype: float32t, key: "0", elements: 6, offset: 6, shape: []int64{0, 3}, stride: []int64{3, 1}}).
		raw('u').stop()
	data := torchArchive(code, []fileTensor{{key: "0", data: make([]byte, 24)}}, zipStyle{}).encode()
	tensors, notes, err := parseTorch(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if len(tensors) != 2 || tensors[0].name != "w" || tensors[1].elements() != 0 {
		t.Errorf("tensors %+v", tensors)
	}
	if len(notes) != 1 || !strings.Contains(notes[0], `5 entries that are not tensors are ignored, such as "epoch"`) {
		t.Errorf("notes %q", notes)
	}
}

// TestPickleLong reads integers of all widths.
func TestPickleLong(t *testing.T) {
	for bytes, want := range map[string]int64{"": 0, "\x01": 1, "\xff": -1, "\xff\x00": 255, "\x00\x80": -32768,
		"\xff\xff\xff\xff\xff\xff\xff\x7f": 1<<63 - 1, "\x00\x00\x00\x00\x00\x00\x00\x80": -1 << 63} {
		got, err := runPickle(raw(opLong1, len(bytes), bytes, '.'))
		if err != nil || got != want {
			t.Errorf("LONG1 of %x is %v, %v, want %d", bytes, got, err, want)
		}
	}
}
