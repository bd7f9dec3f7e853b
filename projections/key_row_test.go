package projections

import (
	"reflect"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
)

func TestAKeyComesBackAsItWasWritten(t *testing.T) {
	k, s := sampleKey("n")
	at := time.Date(2026, 11, 20, 12, 0, 0, 123456789, time.UTC)
	k.CreatedAt, k.CreatedBy, k.Imported, k.Root = at, "system", true, true
	k.Environment = "live"
	k.NotedExpiry, k.NotedIdle = at.Add(2), at.Add(3)
	k.Leaks = 300
	k.TokenMinute, k.Tokens = 29_900_000, 60
	k.RecordedExpiry, k.RevokedAt, k.RevokedBy, k.Reason, k.Comment = at.Add(1), time.Date(1, 2, 3, 4, 5, 6, 0, time.UTC), "key_b", domain.KeyCompromise, "\x00 \"ö"
	k.Metadata = map[string]string{"plan": "free", "note": "\"quoted\" \u2028 <b>"}
	s.Prefix = "kt_live_0001"
	k.Secrets = []domain.KeySecret{s, {Digest: domain.NewSecret("old").Digest(), CreatedAt: at, ValidUntil: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}}
	for _, want := range []KeyRow{{Key: k, Revision: 7, Since: 5}, {Key: domain.Key{ID: k.ID, Org: k.Org}}} {
		var got KeyRow
		if err := got.decode(k.ID, string(want.encode())); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v\nwant %+v", got, err, want)
		}
	}
	v := reflect.ValueOf(k)
	for i := range v.NumField() {
		if v.Field(i).IsZero() && v.Type().Field(i).Tag.Get("json") != "-" {
			t.Errorf("the sample has no %s", v.Type().Field(i).Name)
		}
	}
}

// Rows whose keys begin with one another, end early or differ late come in the order of their bytes.
func TestARowListSortsByBytes(t *testing.T) {
	var l rowList
	for i := range 3000 {
		key := make([]byte, i%97)
		for n := range key {
			key[n] = byte(i >> (n % 13) & 1)
		}
		l.add(nil, byte(i%2), key, number(uint64(i*2654435761)))
	}
	l.sort()
	for i := range l.rows[1:] {
		if string(l.key(l.rows[i])) >= string(l.key(l.rows[i+1])) {
			t.Fatalf("row %d is %x, and the next %x", i, l.key(l.rows[i]), l.key(l.rows[i+1]))
		}
	}
}

// A state that grows and shrinks is found as it was put last, and only so.
func TestKeyStatesAreFoundAsTheyWerePutLast(t *testing.T) {
	states, want := newKeyStates(), map[[idSize]byte]string{}
	for i := range 20_000 {
		id := [idSize]byte{byte(i % 251)}
		row := make([]byte, 1+i*7919%900)
		if i == 5000 {
			row = make([]byte, 3<<stateChunkBits) // larger than a chunk
		}
		row[0] = byte(i)
		states.put(id, keyState{introduced: number(uint64(i)), row: row})
		want[id] = string(row)
		if s, known := states.find(id); !known || string(s.row) != string(row) || string(s.introduced) != string(number(uint64(i))) {
			t.Fatalf("after %d the key is another", i)
		}
	}
	states.each(func(_ uint64, id [idSize]byte, s keyState) {
		if want[id] != string(s.row) {
			t.Errorf("key %x is another, or there twice", id)
		}
		delete(want, id)
	})
	if len(want) > 0 {
		t.Errorf("%d keys are missing", len(want))
	}
}
