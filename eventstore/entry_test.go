package eventstore_test

import (
	"testing"

	"github.com/keytrail/keytrail/eventstore"
)

func TestAnEntryIsWrittenOnceForEachName(t *testing.T) {
	e := &eventstore.Entry{Record: eventstore.Record{Subject: "k"}}
	made := map[string]int{}
	for range 3 {
		for _, name := range []string{"a", "b"} {
			got := e.Memo(name, func(r *eventstore.Record) any { made[name]++; return r.Subject + name })
			if got != "k"+name || made[name] != 1 {
				t.Errorf("%s is %v, made %d times", name, got, made[name])
			}
		}
	}
}
