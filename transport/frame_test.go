package transport

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

func drawFrame(t *rapid.T) Frame {
	return Frame{
		Header: Header{
			Kind:       Kind(rapid.IntRange(1, int(kindEnd)-1).Draw(t, "kind")),
			Flags:      Flags(rapid.Uint16().Draw(t, "flags")),
			Rank:       rapid.Uint16().Draw(t, "rank"),
			Generation: rapid.Uint64().Draw(t, "generation"),
			Epoch:      rapid.Uint64().Draw(t, "epoch"),
			Step:       rapid.Uint64().Draw(t, "step"),
			Index:      rapid.Uint32().Draw(t, "index"),
		},
		Payload: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "payload"),
	}
}

// The header's table in bytes.
func TestFrameBytes(t *testing.T) {
	frame := Frame{
		Header:  Header{Kind: KindSums, Flags: FlagMore, Rank: 0x0203, Generation: 4, Epoch: 5, Step: 6, Index: 7},
		Payload: []byte("abc"),
	}
	got, err := AppendFrame([]byte{0xff}, &frame)
	if err != nil {
		t.Fatal(err)
	}
	want := "ff" + "504e0102" + "0100" + "0302" + "0400000000000000" + "0500000000000000" + "0600000000000000" +
		"07000000" + "03000000" + "616263"
	if hex.EncodeToString(got) != want {
		t.Errorf("frame is %x, want %s", got, want)
	}
	if len(got) != 1+HeaderBytes+3 {
		t.Errorf("%d bytes", len(got))
	}
}

func TestFrameRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		frames := rapid.SliceOfN(rapid.Custom(drawFrame), 1, 5).Draw(t, "frames")
		var data []byte
		for i := range frames {
			var err error
			if data, err = AppendFrame(data, &frames[i]); err != nil {
				t.Fatal(err)
			}
		}
		reader := iotest.OneByteReader(bytes.NewReader(data))
		var reused Frame
		for i, want := range frames {
			got, rest, err := DecodeFrame(data)
			if err != nil || !reflect.DeepEqual(got.Header, want.Header) || !bytes.Equal(got.Payload, want.Payload) {
				t.Fatalf("frame %d decodes as %+v, %v, want %+v", i, got, err, want)
			}
			data = rest
			if err := ReadFrame(reader, &reused); err != nil || reused.Header != want.Header || !bytes.Equal(reused.Payload, want.Payload) {
				t.Fatalf("frame %d reads as %+v, %v, want %+v", i, reused, err, want)
			}
		}
		if err := ReadFrame(reader, &reused); err != io.EOF || len(data) != 0 {
			t.Fatalf("after the last frame: %v, %d bytes left", err, len(data))
		}
	})
}

func TestFrameRefused(t *testing.T) {
	good, err := AppendFrame(nil, &Frame{Header: Header{Kind: KindHello}, Payload: []byte("payload")})
	if err != nil {
		t.Fatal(err)
	}
	with := func(at int, bytes ...byte) []byte {
		data := append([]byte(nil), good...)
		copy(data[at:], bytes)
		return data
	}
	for _, test := range []struct {
		name string
		data []byte
		want error
	}{
		{"magic", with(0, 'X'), ErrFrame},
		{"version 0", with(2, 0), ErrFrame},
		{"version 2", with(2, 2), ErrFrame},
		{"kind 0", with(3, 0), ErrFrame},
		{"unknown kind", with(3, byte(kindEnd)), ErrFrame},
		{"length 4 GiB", with(36, 0xff, 0xff, 0xff, 0xff), ErrTooLarge},
		{"one byte over the limit", with(36, 1, 0, 0, 4), ErrTooLarge},
		{"length at the limit, bytes missing", with(36, 0, 0, 0, 4), ErrFrame},
		{"half a header", good[:20], ErrFrame},
		{"half a payload", good[:HeaderBytes+3], ErrFrame},
	} {
		if _, _, err := DecodeFrame(test.data); !errors.Is(err, test.want) {
			t.Errorf("%s: decode: %v, want %v", test.name, err, test.want)
		}
		var frame Frame
		if err := ReadFrame(bytes.NewReader(test.data), &frame); !errors.Is(err, test.want) {
			t.Errorf("%s: read: %v, want %v", test.name, err, test.want)
		}
		if cap(frame.Payload) > 2*readPiece {
			t.Errorf("%s: reader allocated %d bytes", test.name, cap(frame.Payload))
		}
	}
	large := Frame{Header: Header{Kind: KindHello}, Payload: make([]byte, PayloadMax+1)}
	if _, err := AppendFrame(nil, &large); !errors.Is(err, ErrTooLarge) {
		t.Errorf("payload over the limit: %v", err)
	}
}

func TestReadFrameLargePayload(t *testing.T) {
	want := Frame{Header: Header{Kind: KindActivation}, Payload: bytes.Repeat([]byte("0123456789"), 100_000)}
	data, err := AppendFrame(nil, &want)
	if err != nil {
		t.Fatal(err)
	}
	var got Frame
	reader := bytes.NewReader(data)
	read := func() {
		reader.Reset(data)
		if err := ReadFrame(reader, &got); err != nil || !bytes.Equal(got.Payload, want.Payload) {
			t.Fatalf("payload of %d bytes, %v", len(got.Payload), err)
		}
	}
	read()
	if n := testing.AllocsPerRun(10, read); n != 0 {
		t.Errorf("%v allocations per frame after the first", n)
	}
}

func FuzzFrame(f *testing.F) {
	good, _ := AppendFrame(nil, &Frame{Header: Header{Kind: KindGather, Epoch: 3}, Payload: []byte("seed")})
	f.Add(good)
	f.Add(good[:HeaderBytes])
	f.Add(append(good, good...))
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, rest, err := DecodeFrame(data)
		var read Frame
		readErr := ReadFrame(bytes.NewReader(data), &read)
		if (err == nil) != (readErr == nil) {
			t.Fatalf("decode: %v, read: %v", err, readErr)
		}
		if err != nil {
			return
		}
		again, err := AppendFrame(nil, &frame)
		if err != nil || !bytes.Equal(again, data[:len(data)-len(rest)]) {
			t.Fatalf("%x encodes as %x, %v", data, again, err)
		}
		if read.Header != frame.Header || !bytes.Equal(read.Payload, frame.Payload) {
			t.Fatalf("decoded %+v, read %+v", frame, read)
		}
	})
}

func TestFence(t *testing.T) {
	var fence Fence
	for _, step := range []struct {
		generation, epoch uint64
		ok                bool
	}{
		{1, 5, true}, {1, 5, true}, {1, 4, false}, {1, 9, true}, {1, 8, false}, {2, 1, true}, {1, 100, false}, {2, 0, false},
	} {
		err := fence.Admit(step.generation, step.epoch)
		if step.ok && err != nil || !step.ok && !errors.Is(err, ErrStaleEpoch) {
			t.Errorf("admit %d of %d: %v", step.epoch, step.generation, err)
		}
	}
	if generation, epoch := fence.Newest(); generation != 2 || epoch != 1 {
		t.Errorf("newest is %d of %d", epoch, generation)
	}
}
