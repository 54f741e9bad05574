package planner

// wide searches among more machines than can be grouped in all ways.
func (s *search) wide() {
	for m := range s.machines {
		s.try([][]int{{m}})
	}
}
