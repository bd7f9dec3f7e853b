package api

import (
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/audit"
)

// livez is the liveness check: the process serves requests.
func (s *server) livez(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, map[string]string{"status": "live"})
}

// maxReadyLag is how many messages of events the read model may be behind and still be
// called ready. Uses are counted later, and their lag alone does not count.
const maxReadyLag = 10_000

// readyz is the readiness check: requests can be answered, from a read model that keeps up
// with a ledger that answers. It reads memory alone, so that frequent checks cost little.
func (s *server) readyz(w http.ResponseWriter, r *http.Request) {
	status, problems := s.Store.Status(), s.Ledger.Health()
	for _, p := range status {
		if p.Halted != "" {
			problems = append(problems, "the projection "+p.Name+" has stopped")
		} else if p.Stream == "events" && p.Lag > maxReadyLag {
			problems = append(problems, "the projection "+p.Name+" is behind")
		}
	}
	answer := map[string]any{"projections": status}
	if cause := s.Ledger.Suspended(); cause != nil {
		answer["suspended"] = s.asProblem(r.Context(), cause).Code
		problems = append(problems, "nothing is recorded")
	}
	if warnings := s.warnings(); len(warnings) > 0 {
		answer["warnings"] = warnings
	}
	answer["ready"] = len(problems) == 0
	w.Header().Set("Content-Type", "application/json")
	if len(problems) > 0 {
		answer["problems"] = problems
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	encode(w, answer)
}

// warnings are what an operator must look into, and what keeps no request from being answered.
func (s *server) warnings() (all []string) {
	if s.forked() {
		all = append(all, "audit_fork_detected")
	}
	if s.Reactions != nil && s.Reactions.Failing() {
		all = append(all, "reactions_failing")
	}
	return all
}

// forked reports whether the ledger is not what was signed of it. That is for operators and auditors to
// look into, and no reason to send no requests: keys are verified as well as before.
func (s *server) forked() bool {
	return s.Signer != nil && slices.ContainsFunc(s.Signer.Status(), func(st audit.Status) bool { return st.Fork != "" })
}

// The documents of the health checks, which need no key. Each document is made anew for
// each server, which completes it.
func documentLive() description {
	return description{summary: "The process serves", details: "Answered however busy it is.", answer: jsonObject(), security: openToAll}
}

func documentReady() description {
	return description{summary: "The service can be used", details: "503, with the same body, while the ledger does not answer or the read model is behind. warnings has what an operator must look into and what keeps no request from being answered: audit_fork_detected, reactions_failing.", answer: jsonObject(), security: openToAll}
}

func jsonObject() map[string]*huma.MediaType {
	return map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Type: "object"}}}
}
