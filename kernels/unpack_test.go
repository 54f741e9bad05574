package kernels

import "testing"

func TestUnpackRowIsTheDefinition(t *testing.T) {
	forEachTier(t, func(t *testing.T) {
		rng := newRand(11)
		for _, f := range allFormats {
			for _, k := range []int{1, 15, 16, 17, 32, 33, 100} {
				m := randomMatrix(t, rng, f, 37, k, 32, 10, false)
				got := make([]float32, k+2)
				for row := range m.Rows {
					got[k] = 77
					UnpackRow(got, &m, row)
					for i := range k {
						w, scale := specWeight(&m, row, i)
						if want := float32(w * scale); !sameBits(got[i], want) {
							t.Fatalf("%s k=%d: weight (%d, %d) is %g, want %g", f, k, row, i, got[i], want)
						}
					}
					if got[k] != 77 {
						t.Fatalf("%s k=%d: wrote behind the row", f, k)
					}
				}
			}
		}
	})
}

// A row of a slice is the same part of the row of the whole.
func TestUnpackRowOfASlice(t *testing.T) {
	for _, f := range allFormats {
		m := randomMatrix(t, newRand(1), f, 64, 256, 64, 10, true)
		rows, err := m.SliceRows(16, 48)
		if err != nil {
			t.Fatal(err)
		}
		part, err := rows.SliceK(64, 192)
		if err != nil {
			t.Fatal(err)
		}
		whole, slice := make([]float32, 256), make([]float32, 128)
		UnpackRow(whole, &m, 16+21)
		UnpackRow(slice, &part, 21)
		for i, v := range slice {
			if v != whole[64+i] {
				t.Fatalf("%s: column %d differs", f, i)
			}
		}
	}
}
