package format

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// facts are what all formats but CloudEvents say of a record.
type facts struct {
	meaning
	*eventstore.Record
	kind       string   // of the aggregate, like key
	name       string   // of the entity, "" if it is not known
	by         string   // the principal
	refused    bool     // the attempt failed
	code       string   // of the outcome
	detail     string   // why, as an operator or the service wrote it
	addresses  []string // of the client; of a sum some
	resources  []string // the key was presented for, like GET /path; of a sum some
	scopes     []string // asked for
	request    string   // its id
	count      int64    // how many attempts a sum stands for; 0: it is no sum
	start, end time.Time
	management bool   // a call of the service's own API
	asked      string // that it asked for, of a sum of such calls
}

// factsOf are those of r; false if its type is not known.
func factsOf(r *eventstore.Record) (f facts, ok bool) {
	f = facts{Record: r, by: r.Actor, request: r.Correlation}
	f.meaning, ok = meanings[r.Type]
	f.kind, _, _ = strings.Cut(r.Type, ".")
	switch e := r.Event.(type) {
	case domain.KeyUsed:
		f.use(&e)
	case domain.CredentialsRefused:
		f.by, f.refused, f.code = e.Principal, true, string(domain.UseNotFound)
		f.count, f.start, f.end = e.Count, e.From, e.To
	case domain.Sum:
		f.sum(e)
	case domain.KeyCreated:
		f.name = e.Name
	case domain.OrganizationCreated:
		f.name = e.Name
	case domain.KeyRevoked:
		f.code, f.detail = string(e.Reason), e.Comment
	case domain.KeyExpired:
		f.detail = "expired"
	case domain.KeyLeaked:
		f.code, f.detail = e.Source, e.URL
	case domain.OrganizationSuspended:
		f.detail = e.Reason
	case domain.SinkCreated:
		f.name = e.Definition.Name
	case domain.SinkUpdated:
		f.name = e.Definition.Name
	case domain.SinkPaused:
		f.code, f.detail = string(e.Reason), e.Detail
	case domain.TrailForkDetected:
		f.detail = e.Finding
	}
	return f, ok
}

// sum adds the facts of calls of the API that an event sums up.
func (f *facts) sum(e domain.Sum) {
	o := e.Occurred()
	f.management, f.asked = true, e.Operation()
	f.count, f.start, f.end = int64(o.Count), o.First, o.At
	switch e := e.(type) {
	case domain.TrailRead:
		f.code = string(e.Access)
	case domain.AccessRefused:
		f.refused, f.code = true, e.Code
	}
}

// use adds the facts of a use of a key.
func (f *facts) use(e *domain.KeyUsed) {
	f.by, f.request, f.scopes, f.code = e.Principal, e.RequestID, e.Scopes, string(e.Code)
	f.refused = e.Code != domain.UseValid
	f.management = !f.refused && e.Principal == string(e.Key) // the service asked for its own caller
	f.addresses, f.resources = e.Addresses, e.Resources
	if e.IP != "" {
		f.addresses = []string{e.IP}
	}
	if e.Resource != "" {
		f.resources = []string{e.Resource}
	}
	if e.Count > 1 {
		f.count, f.start, f.end = e.Count, e.First, e.At
	}
	if f.refused {
		f.text, f.severity = "Key refused: "+f.code, low
	}
	if e.Code == domain.UseRevoked { // its holder, or a thief, does not know that it has ended
		f.severity = high
	}
}

// address is the client's, "" if it is not known.
func (f *facts) address() string {
	if len(f.addresses) == 0 {
		return ""
	}
	if _, err := netip.ParseAddr(f.addresses[0]); err != nil {
		return ""
	}
	return f.addresses[0]
}

// call is the client's request, if the resource that the key was used for is named as one.
func (f *facts) call() (method, path string, ok bool) {
	if len(f.resources) != 1 {
		return "", "", false
	}
	method, path, ok = strings.Cut(f.resources[0], " ")
	return method, path, ok && strings.HasPrefix(path, "/")
}

// outcome is in a word.
func (f *facts) outcome() string {
	if f.refused {
		return "failure"
	}
	return "success"
}

// originalID is the id of the CloudEvent.
func (f *facts) originalID() string {
	if f.Stream == eventstore.Uses {
		return f.ID + "." + strconv.Itoa(f.Index)
	}
	return f.ID
}

// milliseconds since the Unix epoch; 0: t is not known.
func milliseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
