package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/githubscan"
	"github.com/keytrail/keytrail/projections"
)

// reporter is the principal of what is done because of a report. It is not the system: the root key is
// protected from it.
var reporter = domain.Principal{ID: "leaks", Org: domain.Installation, Scopes: []string{"*"}}

// maxLeaks bounds the reports of one request.
const maxLeaks = 100

// A leak says where a secret was found.
type leak struct {
	Secret string `json:"secret" maxLength:"512" doc:"The whole secret that was found."`
	URL    string `json:"url,omitempty" maxLength:"2000" doc:"Where it was."`
	Source string `json:"source,omitempty" maxLength:"100" doc:"What found it."`
}

func newLeakCounter(metrics prometheus.Registerer) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keytrail_leaked_secrets_total", Help: "Presented secrets of leak reports and self-revocations, by what they were of. root_key is an alarm; it is counted as a key, too."}, []string{"of"})
	for _, of := range []string{"nothing", "key", "root_key"} {
		c.WithLabelValues(of)
	}
	metrics.MustRegister(c)
	return c
}

// reportLeaks takes reports from anyone, and answers the same whatever they are of: when it answers, what
// follows from them is on the ledger.
func (s *server) reportLeaks(w http.ResponseWriter, r *http.Request) error {
	body, err := takeBody(w, r)
	if err != nil {
		return err
	}
	leaks, err := parseLeaks(body)
	if err != nil {
		return err
	}
	for _, l := range leaks {
		if _, err := s.leaked(r.Context(), l); err != nil {
			return err
		}
	}
	s.accepted(w)
	return nil
}

// accepted is the answer to open requests that end keys.
func (s *server) accepted(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusAccepted)
}

// parseLeaks reads one report, or a list.
func parseLeaks(body []byte) (leaks []leak, err error) {
	if text := bytes.TrimSpace(body); len(text) > 0 && text[0] == '[' {
		list, err := decodeStrict[struct {
			Leaks []leak `json:"leaks"`
		}]([]byte(`{"leaks":`+string(text)+`}`), "body")
		if err != nil {
			return nil, err
		}
		leaks = list.Leaks
	} else {
		one, err := decodeStrict[leak](body, "body")
		if err != nil {
			return nil, err
		}
		leaks = []leak{one}
	}
	if len(leaks) == 0 || len(leaks) > maxLeaks {
		return nil, domain.InvalidField("body", "must be a report, or a list of 1 to %d", maxLeaks)
	}
	for _, l := range leaks { // before the first is looked up: a refusal tells nothing of a key
		if l.Secret == "" {
			return nil, domain.InvalidField("secret", "is required: the whole secret that was found")
		}
		if err := commands.CheckLeak(l.Source, l.URL); err != nil {
			return nil, err
		}
	}
	return leaks, nil
}

// leaked does what follows from a report, and tells whether the secret is one of a key's, good or not.
//
//  1. If the keyspace says so and the secret is still good, its key is revoked. After a crash here the
//     report is not acknowledged, and comes again.
//  2. The report is an event of the key.
func (s *server) leaked(ctx context.Context, l leak) (known bool, err error) {
	if l.Source == "" {
		l.Source = "report"
	}
	digest := domain.NewSecret(l.Secret).Digest()
	keys, err := s.holdersOf(l.Secret, &digest)
	for _, c := range keys {
		k, err := s.Store.Keyspaces().Named(c.Keyspace)
		if err == nil && k.RevokeLeaked && c.Good(s.Now()) {
			_, err = s.end(ctx, c, reporter, domain.KeyCompromise, "reported as leaked by "+l.Source)
		}
		if err == nil {
			err = s.Commands.ReportLeak(ctx, commands.ReportLeak{Request: commands.Request{By: reporter, Correlation: requestID(ctx)}, Org: c.Org, Key: c.Key, Secret: digest, Source: l.Source, URL: l.URL})
		}
		if err != nil {
			return true, err
		}
	}
	return len(keys) > 0, err
}

// holdersOf are the keys that a secret is of: one to an organization.
func (s *server) holdersOf(secret string, d *domain.Digest) (keys []projections.Credential, err error) {
	if all := s.Store.Keyspaces(); all.Possible("", secret) || all.Possible(domain.ManagementKeyspace, secret) {
		keys, err = s.Store.Credentials(d)
	}
	of := "nothing"
	if len(keys) > 0 {
		of = "key"
	}
	s.leaks.WithLabelValues(of).Inc()
	return keys, err
}

// end revokes a key, and waits until it is refused here. The root key is never ended, which is an alarm instead.
func (s *server) end(ctx context.Context, c projections.Credential, by domain.Principal, why domain.Reason, comment string) (root bool, err error) {
	r, err := s.Commands.RevokeKey(ctx, commands.RevokeKey{Request: commands.Request{By: by, Correlation: requestID(ctx)}, Org: c.Org, Key: c.Key, Reason: why, Comment: comment})
	if errors.Is(err, domain.ErrRootKeyProtected) {
		s.leaks.WithLabelValues("root_key").Inc()
		s.Logger.ErrorContext(ctx, "the root key is known to others; replace it with keytrail root-key reset", "request_id", requestID(ctx), "key", c.Key)
		return true, nil
	}
	if err == nil {
		err = s.waitFor(ctx, r.Position)
	}
	return false, err
}

// A githubReport is a match of GitHub's secret scanning.
type githubReport struct {
	Token  string `json:"token"`
	Type   string `json:"type"`
	URL    string `json:"url"`
	Source string `json:"source"`
}

// A githubLabel tells GitHub what a match is.
type githubLabel struct {
	Token string `json:"token_raw"`
	Type  string `json:"token_type"`
	Label string `json:"label" enum:"true_positive,false_positive"`
}

// reportGitHubLeaks takes what GitHub's secret scanning sends to its partners. Its answer tells what each
// secret is of, and so is for signed requests alone. Members that GitHub may add are not read.
func (s *server) reportGitHubLeaks(w http.ResponseWriter, r *http.Request) error {
	if s.GitHubKeys == nil {
		return domain.ErrRouteNotFound
	}
	body, err := takeBody(w, r)
	if err != nil {
		return err
	}
	err = s.GitHubKeys.Check(r.Context(), r.Header.Get("Github-Public-Key-Identifier"), r.Header.Get("Github-Public-Key-Signature"), body)
	switch {
	case errors.Is(err, githubscan.ErrSignature):
		return domain.ErrNotGitHub
	case err != nil:
		s.Logger.WarnContext(r.Context(), "a leak report cannot be checked", "request_id", requestID(r.Context()), "err", err)
		return domain.ErrGitHubKeys
	}
	var reports []githubReport
	if err := json.Unmarshal(body, &reports); err != nil || len(reports) > maxLeaks {
		return domain.InvalidField("body", "must be a list of at most %d matches", maxLeaks)
	}
	labels := []githubLabel{}
	for _, report := range reports {
		known, err := s.leaked(r.Context(), report.leak())
		if err != nil {
			return err
		}
		labels = append(labels, githubLabel{report.Token, report.Type, map[bool]string{true: "true_positive", false: "false_positive"}[known]})
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, labels)
	return nil
}

// leak is the report as one from anyone. It is not refused for a place that no text of ours may name.
func (g githubReport) leak() leak {
	l := leak{Secret: g.Token, URL: g.URL, Source: strings.TrimSpace("github " + g.Source)}
	if commands.CheckLeak(l.Source, l.URL) != nil {
		l.URL, l.Source = "", "github"
	}
	return l
}

// revokeSelf ends the key that is presented, of whatever keyspace, and answers the same whatever it is
// of. The root key is not ended: presenting it here is an alarm, and an event as of a leak.
func (s *server) revokeSelf(w http.ResponseWriter, r *http.Request) error {
	secret, err := presented(r.Header)
	if err == nil && secret == "" {
		err = domain.ErrMissingKey
	}
	if err != nil {
		return err
	}
	why, err := selfRevocation(w, r)
	if err != nil {
		return err
	}
	digest := domain.NewSecret(secret).Digest()
	keys, err := s.holdersOf(secret, &digest)
	for _, c := range keys {
		if !c.Good(s.Now()) {
			continue
		}
		root, err := s.end(r.Context(), c, domain.Principal{ID: string(c.Key), Org: c.Org, Scopes: c.Scopes}, domain.Reason(why.Reason), why.Comment)
		if root {
			err = s.Commands.ReportLeak(r.Context(), commands.ReportLeak{Request: commands.Request{By: reporter, Correlation: requestID(r.Context())}, Org: c.Org, Key: c.Key, Secret: digest, Source: "self-revocation"})
		}
		if err != nil {
			return err
		}
	}
	if err == nil {
		s.accepted(w)
	}
	return err
}

// selfRevocation is the reason in the body, if there is one.
func selfRevocation(w http.ResponseWriter, r *http.Request) (why ReasonBody, err error) {
	body, err := takeBody(w, r)
	if err == nil && len(body) > 0 {
		why, err = decodeStrict[ReasonBody](body, "body")
	}
	if err == nil {
		err = commands.CheckRevocation(domain.Reason(why.Reason), why.Comment)
	}
	return why, err
}

func (s *server) documentLeaks() description {
	either := &huma.Schema{OneOf: []*huma.Schema{s.media(leak{}).Schema, {Type: "array", Items: s.media(leak{}).Schema}}}
	return description{summary: "Report leaked secrets", security: openToAll, status: http.StatusAccepted,
		details: "From anyone: a report, or a list of up to 100. A good secret ends its key, if the keyspace says so, and the report is an event of the key. The answer is the same whatever the secrets are of.",
		body:    &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: either}}}}
}

func (s *server) documentGitHubLeaks() description {
	return description{summary: "Reports of GitHub's secret scanning", security: openToAll, refusals: []int{http.StatusUnauthorized, http.StatusNotFound},
		details:    "As GitHub's secret scanning partner programme sends them, signed; 404 unless the operator set --github-keys. The answer says what each secret is of.",
		parameters: []*huma.Param{headerParam("Github-Public-Key-Identifier", "Which key signed the body."), headerParam("Github-Public-Key-Signature", "ECDSA P-256 over the body, in base64.")},
		body:       &huma.RequestBody{Required: true, Content: s.jsonAnswer([]githubReport{})}, answer: s.jsonAnswer([]githubLabel{})}
}

func (s *server) documentRevokeSelf() description {
	return description{summary: "Revoke the presented key", security: withKey, status: http.StatusAccepted,
		details: "The presented key is the credential, of whatever keyspace, and ends for good. The answer is the same whatever was presented.",
		body:    &huma.RequestBody{Content: s.jsonAnswer(ReasonBody{})}}
}
