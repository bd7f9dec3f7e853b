package verify_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/verify"
)

// usesOf is how a key's uses of one outcome are on the ledger: records, the uses that they
// stand for, and the last record that is a sum.
func (d *desk) usesOf(id domain.KeyID, code domain.Outcome) (records int, uses int64, sum domain.KeyUsed) {
	d.t.Helper()
	for _, u := range recorded[domain.KeyUsed](d, eventstore.Uses) {
		if u.Key == id && u.Code == code {
			records++
			uses += u.Uses()
			if u.Count > 1 {
				sum = u
			}
		}
	}
	return records, uses, sum
}

// Where the presented key is the only credential, the first refusals of a minute are on the
// ledger one by one, and each further one is in a sum. Nothing else is summed up.
func TestRepeatedRefusalsOfAKeyAreSummedUp(t *testing.T) {
	d := openWith(t, verify.Options{RefusalsRecorded: 5}, nil)
	revoked := d.key(domain.KeyCreated{Settings: domain.Settings{Name: "revoked"}}, domain.KeyRevoked{Header: domain.Header{At: noon}})
	stranger := d.key(domain.KeyCreated{Settings: domain.Settings{Name: "stranger"}, Org: domain.NewOrgID("stranger")}, domain.KeyDisabled{Header: domain.Header{At: noon}})
	asked := d.key(domain.KeyCreated{Settings: domain.Settings{Name: "asked"}}, domain.KeyRevoked{Header: domain.Header{At: noon}})
	good := d.key(domain.KeyCreated{Settings: domain.Settings{Name: "good"}})
	gateway := domain.Principal{ID: "authorize", Org: domain.Installation}
	for i := range 100 {
		ip := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		for _, secret := range []string{"revoked", "stranger", "good"} {
			if _, err := d.ask(verify.Request{Secret: secret, By: gateway, Sole: true, IP: ip, Resource: fmt.Sprint("GET /v1/", i%16)}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := d.ask(verify.Request{Secret: "asked", IP: ip}); err != nil {
			t.Fatal(err)
		}
		d.clock.Add(1)
	}
	d.WriteRefusals(t.Context())
	for name, want := range map[domain.KeyID]struct {
		code    domain.Outcome
		records int
	}{revoked: {domain.UseRevoked, 6}, stranger: {domain.UseDisabled, 6}, asked: {domain.UseRevoked, 100}, good: {domain.UseValid, 100}} {
		if records, uses, _ := d.usesOf(name, want.code); records != want.records || uses != 100 {
			t.Errorf("%s: %d uses are on the ledger in %d records, want 100 in %d", want.code, uses, records, want.records)
		}
	}
	_, _, sum := d.usesOf(revoked, domain.UseRevoked)
	if sum.Count != 95 || !sum.First.Equal(noon.Add(5*time.Millisecond)) || !sum.At.Equal(noon.Add(99*time.Millisecond)) ||
		len(sum.Addresses) != 8 || sum.Addresses[0] != "192.0.2.5" ||
		len(sum.Resources) != 8 || sum.Resources[0] != "GET /v1/5" || sum.Resource != "" || sum.Principal != "authorize" {
		t.Errorf("the sum is %+v", sum)
	}

	d.clock.Add(time.Minute.Milliseconds())
	for range 7 {
		if _, err := d.ask(verify.Request{Secret: "revoked", By: gateway, Sole: true}); err != nil {
			t.Fatal(err)
		}
	}
	d.close()
	if records, uses, sum := d.usesOf(revoked, domain.UseRevoked); records != 12 || uses != 107 || sum.Count != 2 || len(sum.Addresses) != 0 {
		t.Errorf("after the next minute: %d uses in %d records, the last sum %+v", uses, records, sum)
	}
	d.counted(revoked, domain.UseRevoked, 107)
}

// counted compares the read model's count of uses with what it should be.
func (d *desk) counted(id domain.KeyID, code domain.Outcome, want uint64) {
	d.t.Helper()
	end, err := d.ledger.End(d.t.Context(), eventstore.Uses)
	if err == nil {
		err = d.store.WaitForUses(d.t.Context(), end)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	report, err := d.store.Usage(id, noon.Add(-time.Hour), noon.Add(time.Hour), time.Hour)
	if err != nil || report.Totals[code] != want {
		d.t.Errorf("the read model counts %v, %v; want %d", report.Totals, err, want)
	}
}

// A revoked management key is its holder's only credential, whatever they ask for.
func TestRefusalsOfAManagementKeyAreSummedUp(t *testing.T) {
	metrics := prometheus.NewRegistry()
	d := openWith(t, verify.Options{RefusalsRecorded: 5, Metrics: metrics}, nil)
	id := d.key(domain.KeyCreated{Settings: domain.Settings{Name: "leaked"}, Keyspace: domain.ManagementKeyspace}, domain.KeyRevoked{Header: domain.Header{At: noon}})
	for range 20 {
		if _, err := d.Authenticate(t.Context(), verify.AuthRequest{Secret: "leaked"}); err == nil {
			t.Fatal("it is accepted")
		}
		if _, err := d.AuthenticateVerifier(t.Context(), verify.AuthRequest{Secret: "leaked"}); err == nil {
			t.Fatal("it is accepted")
		}
	}
	for range 3 {
		if _, err := d.Authenticate(t.Context(), verify.AuthRequest{Secret: "unknown"}); err == nil {
			t.Fatal("it is accepted")
		}
		if _, err := d.AuthenticateVerifier(t.Context(), verify.AuthRequest{}); err == nil {
			t.Fatal("nothing is accepted")
		}
	}
	d.close()
	if records, uses, sum := d.usesOf(id, domain.UseRevoked); records != 6 || uses != 40 || sum.Principal != string(id) {
		t.Errorf("%d uses in %d records, the sum %+v", uses, records, sum)
	}
	refused := map[string]float64{}
	for _, o := range domain.Outcomes {
		refused[strings.ToLower(string(o))] = 0
	}
	delete(refused, "valid")
	refused["revoked"], refused["not_found"], refused["missing"] = 40, 3, 3
	expect(t, metrics, "keytrail_management_refusals_total", refused)
	expect(t, metrics, "keytrail_refusals_summed_total", map[string]float64{"": 35})
}

// expect compares the values of a metric, by the value of its one label.
func expect(t *testing.T, metrics *prometheus.Registry, name string, want map[string]float64) {
	t.Helper()
	if got := values(t, metrics, name); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s is %v, want %v", name, got, want)
	}
}

func values(t *testing.T, metrics *prometheus.Registry, name string) map[string]float64 {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if label := ""; f.GetName() == name {
				if len(m.GetLabel()) > 0 {
					label = m.GetLabel()[0].GetValue()
				}
				got[label] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return got
}

// A flood of more known keys than there is memory for is recorded one by one.
func TestSumsAreBounded(t *testing.T) {
	verify.SetMaxRefusedKeys(t, 2)
	d := openWith(t, verify.Options{RefusalsRecorded: 1}, nil)
	var ids []domain.KeyID
	for i := range 3 {
		name := fmt.Sprint("revoked", i)
		ids = append(ids, d.key(domain.KeyCreated{Settings: domain.Settings{Name: name}}, domain.KeyRevoked{Header: domain.Header{At: noon}}))
		for range 10 {
			if _, err := d.ask(verify.Request{Secret: name, Sole: true}); err != nil {
				t.Fatal(err)
			}
		}
	}
	d.close()
	for i, want := range []int{2, 2, 10} {
		if records, uses, _ := d.usesOf(ids[i], domain.UseRevoked); records != want || uses != 10 {
			t.Errorf("key %d has %d uses in %d records, want 10 in %d", i, uses, records, want)
		}
	}
}

// A summary that was written, though its acknowledgement was lost, counts once; what comes
// meanwhile is in another.
func TestALostAcknowledgementCountsNothingTwice(t *testing.T) {
	for name, fault := range map[string]func(int64) func(func() error) error{"written": losing, "not written": failing} {
		t.Run(name, func(t *testing.T) {
			f := &faulty{}
			d := openWith(t, verify.Options{RefusalsRecorded: 1}, f.on)
			id := d.key(domain.KeyCreated{Settings: domain.Settings{Name: "revoked"}}, domain.KeyRevoked{Header: domain.Header{At: noon}})
			refuse := func() {
				for range 10 {
					for _, secret := range []string{"revoked", "unknown"} {
						if _, err := d.ask(verify.Request{Secret: secret, Sole: true}); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			refuse()
			f.uses = fault(2)
			for range 5 {
				d.WriteRefusals(t.Context())
				refuse()
			}
			d.close()
			if records, uses, _ := d.usesOf(id, domain.UseRevoked); uses != 60 || records > 6 { // one singly, and at most one sum a round
				t.Errorf("%d uses of 60 are on the ledger, in %d records", uses, records)
			}
			var unknown int64
			for _, e := range recorded[domain.CredentialsRefused](d, eventstore.Uses) {
				unknown += e.Count
			}
			if unknown != 60 {
				t.Errorf("%d unknown secrets of 60 are on the ledger", unknown)
			}
		})
	}
}

// A summary that the ledger never takes is given up when repeating it could count twice.
func TestWhatIsLostIsCounted(t *testing.T) {
	verify.SetRepeat(t, 0, 0)
	metrics := prometheus.NewRegistry()
	d := openWith(t, verify.Options{Metrics: metrics}, (&faulty{uses: failing(1)}).on)
	for range 2 {
		if _, err := d.ask(verify.Request{Secret: "unknown"}); err != nil {
			t.Fatal(err)
		}
	}
	d.WriteRefusals(t.Context())
	expect(t, metrics, "keytrail_uses_lost_total", map[string]float64{"summed": 2, "singly": 0})
	d.close()
}
