package verify_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/verify"
)

// counting is a ledger that counts messages of uses.
func counting(messages *atomic.Int64) *faulty {
	return &faulty{uses: func(append func() error) error { messages.Add(1); return append() }}
}

func (d *desk) askAll(requests []verify.Request) ([]verify.Answer, error) {
	for i := range requests {
		requests[i].By = d.asker
	}
	answers := make([]verify.Answer, len(requests))
	return answers, d.VerifyAll(d.t.Context(), requests, answers)
}

// Each request of a batch is answered and recorded in its turn, whatever stands beside it, and they
// share a message; also where there is little memory for uses that wait.
func TestABatchIsAnsweredAsOneByOne(t *testing.T) {
	for name, o := range map[string]verify.Options{"durable": {}, "relaxed": {Durability: verify.Relaxed}, "little room": {BufferBytes: 1}} {
		t.Run(name, func(t *testing.T) {
			var messages atomic.Int64
			d := openWith(t, o, counting(&messages).on)
			d.key(domain.KeyCreated{Settings: domain.Settings{Name: "good", Scopes: []string{"a:read"}}})
			d.key(domain.KeyCreated{Settings: domain.Settings{Name: "revoked"}}, domain.KeyRevoked{Header: domain.Header{At: noon}})
			d.key(domain.KeyCreated{Settings: domain.Settings{Name: "limited", RateLimits: []domain.RateLimit{{Limit: 5, Window: domain.Duration(time.Hour)}}}})
			d.key(domain.KeyCreated{Settings: domain.Settings{Name: "strange"}, Org: domain.NewOrgID("stranger")})
			var requests []verify.Request
			var want, kept []string
			add := func(r verify.Request, o domain.Outcome) {
				r.RequestID = fmt.Sprint(len(requests))
				requests, want = append(requests, r), append(want, string(o))
				if o != domain.UseNotFound {
					kept = append(kept, fmt.Sprint(r.RequestID, " ", o))
				}
			}
			for range 20 {
				add(verify.Request{Secret: "good"}, domain.UseValid)
				add(verify.Request{Secret: "revoked", Resource: "GET /"}, domain.UseRevoked)
				add(verify.Request{Secret: "strange"}, domain.UseNotFound)
				add(verify.Request{Secret: "good", Scopes: []string{"a:write"}}, domain.UseInsufficientScope)
			}
			add(verify.Request{Secret: "limited", Cost: 3}, domain.UseValid)
			add(verify.Request{Secret: "limited", Cost: 3}, domain.UseRateLimited)
			add(verify.Request{Secret: "limited", Cost: 2}, domain.UseValid)
			answers, err := d.askAll(requests)
			if err != nil {
				t.Fatal(err)
			}
			var got, recordedAs []string
			for i := range answers {
				got = append(got, string(answers[i].Outcome))
			}
			if strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("the answers are %v, want %v", got, want)
			}
			d.close()
			for _, u := range recorded[domain.KeyUsed](d, eventstore.Uses) {
				recordedAs = append(recordedAs, fmt.Sprint(u.RequestID, " ", u.Code))
			}
			if strings.Join(recordedAs, "\n") != strings.Join(kept, "\n") {
				t.Errorf("the ledger has %v, want %v", recordedAs, kept)
			}
			if n := messages.Load(); name != "little room" && n != 2 { // one of the secrets of no key
				t.Errorf("the uses are in %d messages", n)
			}
		})
	}
}

// What becomes of a key while a batch is recorded is answered, and recorded as well, for that key
// alone.
func TestABatchIsAsNewAsTheReadModel(t *testing.T) {
	var happens func()
	d := openWith(t, verify.Options{}, changing(&happens).on)
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "kept"}})
	id := d.key(domain.KeyCreated{Settings: domain.Settings{Name: "revoked"}})
	happens = func() { d.change(id, 2, domain.KeyRevoked{Header: domain.Header{At: noon}}) }
	answers, err := d.askAll([]verify.Request{{Secret: "kept"}, {Secret: "revoked"}, {Secret: "nobody's"}})
	if err != nil || answers[0].Outcome != domain.UseValid || answers[1].Outcome != domain.UseRevoked || answers[2].Outcome != domain.UseNotFound {
		t.Errorf("the answers are %+v, %v", answers, err)
	}
	d.close()
	var got []domain.Outcome
	for _, u := range recorded[domain.KeyUsed](d, eventstore.Uses) {
		got = append(got, u.Code)
	}
	if want := []domain.Outcome{domain.UseValid, domain.UseValid, domain.UseRevoked}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the ledger has %v, want %v", got, want)
	}
}

// Without a ledger a durable batch has no answer.
func TestADurableBatchFailsClosed(t *testing.T) {
	verify.SetUseTimeout(t, 200*time.Millisecond)
	d := openWith(t, verify.Options{}, (&faulty{uses: failing(1 << 30)}).on)
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "good"}})
	if _, err := d.askAll([]verify.Request{{Secret: "good"}, {Secret: "good"}}); !errors.Is(err, domain.ErrLedgerUnavailable) {
		t.Errorf("without a ledger the error is %v", err)
	}
	d.close()
}
