package eventstore_test

import (
	"fmt"
	"testing"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// BenchmarkReplay is what a replay of the whole trail as NDJSON costs an event, mostly uses,
// without HTTP; and raw reading of the same.
func BenchmarkReplay(b *testing.B) {
	l := eventstoretest.New(b)
	const messages, uses = 500, 200
	for i := range messages {
		var batch eventstore.UseBatch
		for j := range uses {
			key := domain.NewKeyID(orgs[j%3], fmt.Sprint(i*j%1000))
			batch.Add(orgs[j%3], &domain.KeyUsed{Key: key, Code: domain.UseValid, Scopes: []string{"invoices:read"}, IP: fmt.Sprint("192.0.2.", j%256), Principal: string(key),
				RequestID: fmt.Sprintf("%026d", i*uses+j), Windows: []int64{60000}, At: noon}, 0)
		}
		if _, err := l.AppendUses(b.Context(), &batch); err != nil {
			b.Fatal(err)
		}
	}
	trail := eventstore.NewTrail(l, nil)
	for name, f := range map[string]eventstore.Filter{"all": {Reach: domain.All}, "one organization": {Reach: domain.Only(orgs[0])}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var chunk []byte
			for b.Loop() {
				if err := trail.Replay(b.Context(), f, eventstore.Cursor{}, func(r *eventstore.Record) (err error) {
					chunk, err = r.AppendCloudEvent(chunk[:0])
					return err
				}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*messages*uses), "ns/use")
		})
	}
}

// BenchmarkPage is what the first page of an organization's trail costs, newest first, when it
// was one of a thousand.
func BenchmarkPage(b *testing.B) {
	l := eventstoretest.New(b)
	for i := range 4000 {
		var batch eventstore.UseBatch
		for j := range 48 {
			at := domain.NewOrgID(fmt.Sprint((i*48 + j) * 7919 / 13 % 1000))
			key := domain.NewKeyID(at, fmt.Sprint(j%10))
			batch.Add(at, &domain.KeyUsed{Key: key, Code: domain.UseValid, Scopes: []string{"invoices:read"}, IP: fmt.Sprint("192.0.2.", j), Principal: string(key),
				RequestID: fmt.Sprintf("%026d", i*48+j), Windows: []int64{60000}, At: noon}, 0)
		}
		if _, err := l.AppendUses(b.Context(), &batch); err != nil {
			b.Fatal(err)
		}
	}
	trail := eventstore.NewTrail(l, readModel(b, l))
	for name, descending := range map[string]bool{"ascending": false, "descending": true} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				f := eventstore.Filter{Reach: domain.Only(domain.NewOrgID(fmt.Sprint(i % 1000)))}
				page, err := trail.Page(b.Context(), f, eventstore.Cursor{Descending: descending}, 100)
				if err != nil || len(page.Entries) != 100 {
					b.Fatal(len(page.Entries), err)
				}
			}
		})
	}
}
