package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"polynode/kernels"
)

// tape is a file that writes down when it is written and synced, and can fail.
type tape struct {
	*os.File
	name     string
	log      *[]string
	syncErr  error
	writeErr error
}

func (f *tape) WriteAt(p []byte, at int64) (int, error) {
	*f.log = append(*f.log, f.name+" write")
	if f.writeErr != nil {
		return 0, f.writeErr
	}
	return f.File.WriteAt(p, at)
}

func (f *tape) Sync() error {
	*f.log = append(*f.log, f.name+" sync")
	if f.syncErr != nil {
		return f.syncErr
	}
	return f.File.Sync()
}

// taped puts tapes under a partial model's files.
func taped(p *Partial) (data, record *tape, log *[]string) {
	log = new([]string)
	data = &tape{File: p.file.(*os.File), name: "data", log: log}
	record = &tape{File: p.record.(*os.File), name: "record", log: log}
	p.file, p.record = data, record
	return data, record, log
}

// Data is on the disk before the record speaks of it, and the record before the call returns.
func TestPartialSyncsDataBeforeTheRecord(t *testing.T) {
	m, from := described(t, kernels.Q8)
	p := newPartialModel(t, openDir(t, t.TempDir()), from, m.Digest())
	_, _, log := taped(p)
	first, err := m.Numbering().Unit(0)
	if err != nil || first.Segments != 1 {
		t.Fatal(first, err)
	}
	putUnits(t, p, m, 0)
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	if want := []string{"data write", "data sync", "record write", "record sync"}; !slices.Equal(*log, want) {
		t.Errorf("did %v, want %v", *log, want)
	}
	*log = nil
	if err := p.Close(); err != nil || len(*log) != 0 {
		t.Errorf("a second flush did %v, %v", *log, err)
	}
}

// After a failed sync nobody knows what is on the disk, so nothing more is claimed, even if a later sync succeeds.
func TestPartialClaimsNothingAfterAFailedSync(t *testing.T) {
	m, from := described(t, kernels.Q8)
	d := openDir(t, t.TempDir())
	p := newPartialModel(t, d, from, m.Digest())
	putUnits(t, p, m, 0)
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	data, _, _ := taped(p)
	putUnits(t, p, m, 1)
	data.syncErr = errors.New("the disk is tired")
	if err := p.Flush(); !errors.Is(err, data.syncErr) {
		t.Errorf("flush: %v", err)
	}
	cause := data.syncErr
	data.syncErr = nil
	if err := p.Close(); !errors.Is(err, cause) {
		t.Errorf("close: %v", err)
	}
	p = newPartialModel(t, d, from, m.Digest())
	defer p.Close()
	if !p.Has(0) || p.Has(1) {
		t.Errorf("has %v %v", p.Has(0), p.Has(1))
	}
}

// A disk that is full gives its error; what is here stays.
func TestPartialOnAFullDisk(t *testing.T) {
	m, from := described(t, kernels.Q8)
	d := openDir(t, t.TempDir())
	p := newPartialModel(t, d, from, m.Digest())
	putUnits(t, p, m, 0)
	data, _, _ := taped(p)
	data.writeErr = fmt.Errorf("%w: here", ErrNoSpace)
	u, _ := m.Numbering().Unit(1)
	bytes, err := m.AppendUnit(nil, u)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Put(1, bytes); !errors.Is(err, ErrNoSpace) || p.Has(1) {
		t.Errorf("put: %v", err)
	}
	d.free = func(string) (int64, error) { return 1000, nil }
	var space *SpaceError
	if err := p.CheckSpace(1000); !errors.As(err, &space) || space.Need <= 1000 || space.Avail != 1000 {
		t.Errorf("space for 1000 bytes where 1000 are free: %v", err)
	}
	open, err := p.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if err := open.VerifyUnit(mustUnit(t, m, 0)); err != nil {
		t.Error(err)
	}
	if err := open.VerifyUnit(mustUnit(t, m, 1)); !errors.Is(err, ErrMissing) {
		t.Errorf("verify: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func mustUnit(t *testing.T, m *Model, number int) Unit {
	t.Helper()
	u, err := m.Numbering().Unit(number)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// However a write of the record is cut short, what was recorded before is still known, and nothing else is.
func TestRecordSurvivesTornWrites(t *testing.T) {
	digest := Hash{1, 2, 3}
	rapid.Check(t, func(rt *rapid.T) {
		count := rapid.IntRange(1, 50_000).Draw(rt, "units")
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		defer f.Close()
		set, writes := NewUnitSet(count), rapid.IntRange(1, 5).Draw(rt, "writes")
		for i := range writes {
			for range 10 {
				set.Add(rapid.IntRange(0, count-1).Draw(rt, "unit"))
			}
			if err := writeRecord(f, digest, uint64(i+1), set); err != nil {
				rt.Fatal(err)
			}
		}
		next := set.clone()
		next.Add(rapid.IntRange(0, count-1).Draw(rt, "next"))
		cut := &torn{File: f, bytes: rapid.IntRange(0, int(slotBytes(count))).Draw(rt, "cut")}
		if err := writeRecord(cut, digest, uint64(writes+1), next); err != nil {
			rt.Fatal(err)
		}
		sequence, got := readRecord(f, digest, count)
		switch {
		case sequence == uint64(writes) && got.equal(set):
		case sequence == uint64(writes+1) && got.equal(next) && cut.bytes >= recordHead+BitsBytes(count):
		default:
			rt.Fatalf("read record %d with %d units", sequence, got.Len())
		}
		if _, got := readRecord(f, Hash{9}, count); got.Len() != 0 {
			rt.Fatal("read the record of another model")
		}
	})
}

// torn writes only the beginning.
type torn struct {
	*os.File
	bytes int
}

func (f *torn) WriteAt(p []byte, at int64) (int, error) {
	_, err := f.File.WriteAt(p[:min(f.bytes, len(p))], at)
	return len(p), err
}

func FuzzRecord(f *testing.F) {
	path := filepath.Join(f.TempDir(), "r")
	file, err := os.Create(path)
	if err != nil {
		f.Fatal(err)
	}
	set := NewUnitSet(100)
	set.Add(7)
	set.Add(99)
	if err := writeRecord(file, Hash{1}, 2, set); err != nil {
		f.Fatal(err)
	}
	file.Close()
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data[:recordHead+BitsBytes(100)+32], 100)
	f.Add(data, 64)
	f.Add([]byte{}, 0)
	f.Fuzz(func(t *testing.T, slot []byte, count int) {
		count &= 0xfff
		if _, set, ok := parseSlot(slot, Hash{1}, count); ok && (set == nil || set.Len() > count) {
			t.Errorf("%d units of %d", set.Len(), count)
		}
	})
}

// An interrupted CreatePartial or Remove leaves a record without a model, which the next OpenDir removes; an import over a partial
// model makes it whole; a model may be removed while it is fetched.
func TestPartialInTheFolder(t *testing.T) {
	m, from := described(t, kernels.Q8)
	path := t.TempDir()
	d := openDir(t, path)
	orphan := filepath.Join(path, recordName(Hash{5}))
	if err := os.WriteFile(orphan, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	openDir(t, path)
	if _, err := os.Stat(orphan); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a record without a model stays: %v", err)
	}

	p := newPartialModel(t, d, from, m.Digest())
	openDir(t, path) // leaves what is alive
	putUnits(t, p, m, 0)
	report := importTiny(t, d, "tiny", 1)
	if report.Digest != m.Digest() {
		t.Fatal("another model")
	}
	putUnits(t, p, m, 1)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	whole, err := d.Open("tiny")
	if err != nil {
		t.Fatal(err)
	}
	if !whole.Present().Full() {
		t.Error("an imported model is not whole")
	}
	if err := errors.Join(whole.VerifyAll(t.Context(), nil), whole.Close()); err != nil {
		t.Error(err)
	}

	if _, err := d.Remove(m.Digest().String()); err != nil {
		t.Fatal(err)
	}
	p = newPartialModel(t, d, from, m.Digest())
	putUnits(t, p, m, 0)
	if _, err := d.Remove(m.Digest().String()); err != nil {
		t.Fatal(err)
	}
	second := newPartialModel(t, d, from, m.Digest())
	putUnits(t, p, m, 1)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if second = newPartialModel(t, d, from, m.Digest()); second.Has(0) || second.Has(1) {
		t.Error("a new file claims what an old one had")
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}

// Whatever of a description is wrong, nothing is created.
func TestPartialRefusesAWrongDescription(t *testing.T) {
	m, from := described(t, kernels.Q8)
	d := openDir(t, t.TempDir())
	flip := func(data []byte, at int) []byte {
		data = slices.Clone(data)
		data[at] ^= 1
		return data
	}
	for name, bad := range map[string]Description{
		"manifest":        {flip(from.Manifest, 9), from.Hashes, from.Tokenizer},
		"hashes":          {from.Manifest, flip(from.Hashes, 100), from.Tokenizer},
		"fewer hashes":    {from.Manifest, from.Hashes[32:], from.Tokenizer},
		"more hashes":     {from.Manifest, append(slices.Clone(from.Hashes), 1), from.Tokenizer},
		"tokenizer":       {from.Manifest, from.Hashes, flip(from.Tokenizer, 0)},
		"nothing":         {},
		"other tokenizer": {from.Manifest, from.Hashes, nil},
	} {
		if _, err := d.CreatePartial(m.Digest(), bad); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if list, err := d.List(); err != nil || len(list) != 0 {
		t.Errorf("list %v, %v", list, err)
	}
}
