package store

import (
	"io"
	"os"
	"slices"

	"polynode/model"
)

// presence is what a model that is open knows of its record.
type presence struct {
	io.ReaderAt
	close func() error
	set   *UnitSet
}

// watch makes the model look at a record. It takes the file over.
func (m *Model) watch(record *os.File) {
	if record == nil {
		return
	}
	m.presence = &presence{ReaderAt: record, close: record.Close, set: NewUnitSet(m.units.Count())}
	m.refresh()
}

// refresh reads the record again: units may have come since.
func (m *Model) refresh() {
	_, set := readRecord(m.presence, m.header.digest, m.units.Count())
	m.presence.set.addAll(set)
}

// here says whether a unit is in the file.
func (m *Model) here(number int) bool {
	if m.presence == nil || m.presence.set.Has(number) {
		return true
	}
	m.refresh()
	return m.presence.set.Has(number)
}

// Numbering counts the units of the model.
func (m *Model) Numbering() *Numbering { return m.units }

// Present is the set of units that are here now: all, unless the model is still being fetched.
func (m *Model) Present() *UnitSet {
	if m.presence == nil {
		return fullUnitSet(m.units.Count())
	}
	m.refresh()
	return m.presence.set.clone()
}

// Missing is the number of units that the pieces need and that are not here now.
func (m *Model) Missing(pieces []model.Piece) (int, error) {
	numbers, err := m.units.Of(pieces)
	if err != nil {
		return 0, err
	}
	present := m.Present()
	return len(slices.DeleteFunc(numbers, present.Has)), nil
}

// Describe gives a copy of everything but the tensors, checked: what another node needs to hold a part of this model.
func (m *Model) Describe() (Description, error) {
	tokenizer, err := m.Tokenizer()
	if err != nil {
		return Description{}, err
	}
	d := Description{Manifest: m.ManifestBytes(), Tokenizer: tokenizer}
	err = m.guard(func() error {
		for i := range m.manifest.Tensors {
			if err := m.checkList(m.tensors[m.manifest.Tensors[i].Name]); err != nil {
				return err
			}
		}
		d.Hashes = slices.Clone(m.bytes(m.header.hashes))
		return nil
	})
	return d, err
}
