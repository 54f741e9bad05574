package planner

import "testing"

// The sums of a group take the second step where it saves time: that is what the ranks have to be told.
func TestDelayBytesSayWhenTwoStepsPay(t *testing.T) {
	for _, m := range []mesh{
		{size: 3, messages: 20e-6, delays: []float64{300e-6, 300e-6, 300e-6}, bytes: []float64{2e-8, 2e-8, 2e-8}},
		{size: 8, messages: 140e-6, delays: []float64{1e-3, 1e-3}, bytes: []float64{7e-8, 7e-8}},
	} {
		delay := float64(m.delayBytes())
		for _, bytes := range []float64{100, 5e3, 30e3, 100e3, 1e6} {
			planned := 2*m.exchange(bytes/m.size) < m.exchange(bytes)
			if told := bytes*(m.size-1)*(m.size-2) > delay*m.size; told != planned {
				t.Errorf("%v ranks, %v bytes: two steps pay is %v, the ranks would do so: %v", m.size, bytes, planned, told)
			}
		}
	}
	none := mesh{size: 3, delays: make([]float64, 3), bytes: make([]float64, 3)}
	if got := none.delayBytes(); got != 0 {
		t.Errorf("links that cost nothing: %d", got)
	}
}
