package main

import "testing"

// soakOf is an hour, a sample a minute, in which a figure has a value at each minute.
func soakOf(set func(s *soakSample, minute int)) (all []soakSample) {
	for minute := range 60 {
		s := soakSample{Seconds: float64(60 * (minute + 1)), Goroutines: 100, Files: 50, Memory: footprint{Anonymous: 1e9}}
		set(&s, minute)
		all = append(all, s)
	}
	return all
}

func TestASoakMayNotGrowOnceItHasSettled(t *testing.T) {
	for name, c := range map[string]struct {
		set   func(s *soakSample, minute int)
		grows bool
	}{
		"all is flat":                {set: func(*soakSample, int) {}},
		"memory grows at first":      {set: func(s *soakSample, minute int) { s.Memory.Anonymous = int64(min(minute, 10)) * 1e8 }},
		"memory grows all the time":  {set: func(s *soakSample, minute int) { s.Memory.Anonymous += int64(minute) * 1e7 }, grows: true},
		"goroutines are left behind": {set: func(s *soakSample, minute int) { s.Goroutines += float64(minute) * 2 }, grows: true},
		"files are left open":        {set: func(s *soakSample, minute int) { s.Files += float64(minute) * 2 }, grows: true},
	} {
		if err := soakFault(soakOf(c.set)); (err != nil) != c.grows {
			t.Errorf("%s: %v", name, err)
		}
	}
}
