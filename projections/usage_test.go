package projections

import (
	"strings"
	"testing"

	"github.com/keytrail/keytrail/domain"
)

// A row that was written before there was an outcome has none of it, and one that counts
// more outcomes than are known is not read as something else.
func TestCountsSayHowManyTheyAre(t *testing.T) {
	u := usage{org: [idSize]byte{1}, last: instant{2, 3}, hour: 4}
	for i := range u.totals {
		u.totals[i], u.latest[i] = uint64(i+1)<<(7*i), uint64(i+1)
	}
	var got usage
	if err := got.decode(u.encode()); err != nil || got != u {
		t.Errorf("%+v, %v; want %+v", got, err, u)
	}

	before := append([]byte{2}, 7, 9)
	rest, err := got.totals.decode(append(before, "rest"...))
	if want := (counts{7, 9}); err != nil || got.totals != want || string(rest) != "rest" {
		t.Errorf("of a time with two outcomes: %v, %q, %v", got.totals, rest, err)
	}
	newer := append(u.totals.encode(nil), 1)
	newer[0]++
	if _, err := got.totals.decode(newer); err == nil || !strings.Contains(err.Error(), "newer version") {
		t.Errorf("with %d outcomes: %v", len(domain.Outcomes)+1, err)
	}
}
