package domain

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func TestTheWaitGrowsAndEnds(t *testing.T) {
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		b        Backoff
		underWay int
		want     time.Duration
	}{
		"no failures":                     {},
		"the last that is free":           {b: Backoff{4, noon}},
		"the first that is not":           {b: Backoff{5, noon}, want: time.Second},
		"the fourth that is not":          {b: Backoff{8, noon}, want: 8 * time.Second},
		"a part of the wait is over":      {b: Backoff{8, noon.Add(-5 * time.Second)}, want: 3 * time.Second},
		"all of it is":                    {b: Backoff{8, noon.Add(-8 * time.Second)}},
		"many failures":                   {b: Backoff{1 << 40, noon}, want: 15 * time.Minute},
		"a day later":                     {b: Backoff{1 << 40, noon.Add(-24 * time.Hour)}},
		"the clock was set back":          {b: Backoff{8, noon.Add(240 * time.Hour)}, want: 8 * time.Second},
		"some at once are free":           {underWay: 4},
		"more are not":                    {underWay: 5, want: time.Second},
		"one by one after free ones":      {b: Backoff{8, noon.Add(-time.Hour)}, underWay: 1, want: time.Second},
		"some at once after some in turn": {b: Backoff{3, noon}, underWay: 2, want: time.Second},
	} {
		if got := c.b.Wait(AccountBackoff, c.underWay, noon); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestFailuresAreForgottenADayAfterTheLast(t *testing.T) {
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	b := Backoff{3, noon}.Plus(Backoff{2, noon.Add(23 * time.Hour)})
	if b != (Backoff{5, noon.Add(23 * time.Hour)}) || b.Plus(Backoff{}) != b || b.Plus(Backoff{1, noon}).Last != b.Last {
		t.Error(b)
	}
	if b = b.Plus(Backoff{1, noon.Add(72 * time.Hour)}); b.Failures != 1 {
		t.Error(b)
	}
}

// TestAnEventSaysWhatItAddsToEachBackoff however its attempts were summed up, and is bounded.
func TestAnEventSaysWhatItAddsToEachBackoff(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	ada := LogInRefused{User: "user_ada"}
	ada.Add(LogInAttempt{Account: "user_ada", User: "user_ada", IP: "192.0.2.9", Known: true, At: at})
	for i := range 100 {
		ada.Add(LogInAttempt{Account: "user_ada", User: "user_ada", IP: fmt.Sprintf("192.0.2.%d", i%50+100), At: at.Add(-time.Duration(i))})
	}
	ada.Add(LogInAttempt{Account: "user_ada", User: "user_ada", IP: "192.0.2.10", Known: true, At: at})
	ada.Add(LogInAttempt{User: "user_ada", Held: true, At: at})
	of := ada.Failures()
	if of[OfAccount("user_ada")].Failures != 100 || of[OfKnown("user_ada", "192.0.2.9")].Failures != 1 || of[OfKnown("user_ada", "192.0.2.10")].Failures != 1 ||
		of[OfAddress("192.0.2.100")] != (Backoff{2, at}) || of[OfAddress("192.0.2.9")].Failures != 0 || len(ada.Addresses) > 21 || ada.Held != 1 || ada.Count != 102 || !ada.First.Before(at) {
		t.Errorf("%v of %+v", of, ada)
	}
	var all LogInRefused
	all.Merge(ada)
	for i := range 1000 {
		all.Add(LogInAttempt{Account: fmt.Sprint("hash", i), IP: "192.0.2.100", At: at})
	}
	of = all.Failures()
	if of[OfAccount("user_ada")].Failures != 100 || of[OfAccount("hash1")].Failures != 1 || of[OfAddress("192.0.2.100")].Failures != 1002 || len(all.Accounts) != 100 || all.Count != 1102 || all.Held != 1 {
		t.Errorf("%v of %+v", len(of), all.Count)
	}
}

func TestAUserIsKnownFromTheLatestAddresses(t *testing.T) {
	var k KnownAddresses
	for i := range 30 {
		k = k.With(fmt.Sprint(i))
	}
	if k = k.With("15"); len(k) != 20 || k[0] != "15" || k[1] != "29" || k[19] != "10" {
		t.Error(k)
	}
	for ip, want := range map[string]string{"::ffff:192.0.2.1": "192.0.2.1", "2001:db8::1:2:3:4": "2001:db8::", "fe80::1%eth0": "fe80::"} {
		if got := LogInAddress(netip.MustParseAddr(ip)); got != want {
			t.Errorf("%s: %s", ip, got)
		}
	}
	if LogInAddress(netip.Addr{}) != "" {
		t.Error("no address is one")
	}
}
