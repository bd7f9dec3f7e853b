package api

import (
	"context"
	"html/template"
	"net/http"
	"sort"

	"github.com/keytrail/keytrail/domain"
)

// livez tells that the process serves requests.
func (s *server) livez(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, map[string]string{"status": "live"})
}

// maxReadyLag is how many messages of events the read model may be behind and still be
// called ready. Uses are counted later, and their lag alone makes nobody unready.
const maxReadyLag = 10_000

// readyz tells whether requests can be answered from a read model that keeps up with a
// ledger that answers. It reads memory alone: whoever asks often costs the ledger nothing.
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
	if held := s.Ledger.Held(); held != nil {
		answer["held"] = s.asProblem(r.Context(), held).Code
		problems = append(problems, "nothing is recorded")
	}
	answer["ready"] = len(problems) == 0
	w.Header().Set("Content-Type", "application/json")
	if len(problems) > 0 {
		answer["problems"] = problems
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	encode(w, answer)
}

type principalAnswer struct {
	Body struct {
		ID     string        `json:"id"`
		Org    *domain.OrgID `json:"org_id" doc:"null: the whole installation"`
		Scopes []string      `json:"scopes"`
	}
}

func (s *server) principal(_ context.Context, p domain.Principal, _ *struct{}) (*principalAnswer, error) {
	a := &principalAnswer{}
	a.Body.ID, a.Body.Scopes = p.ID, orEmpty(p.Scopes)
	if p.Org != domain.Installation {
		a.Body.Org = &p.Org
	}
	return a, nil
}

var docsPage = template.Must(template.New("docs").Parse(`<!doctype html><html lang="en"><meta charset="utf-8"><title>Keytrail API</title>
<style>body{font:16px/1.5 system-ui;margin:2rem auto;max-width:60rem;padding:0 1rem}code{font-size:14px}td{padding:.2rem 1rem .2rem 0;vertical-align:top}</style>
<h1>Keytrail API</h1><p>The whole description, with every field and bound, is <a href="/openapi.json">/openapi.json</a> (OpenAPI 3.1).</p>
<table>{{range .}}<tr><td><code>{{.Method}}</code><td><code>{{.Path}}</code><td>{{.Summary}} {{.Description}}{{end}}</table></html>`))

// docs lists the routes on a page that loads nothing from elsewhere.
func (s *server) docs(w http.ResponseWriter, _ *http.Request) {
	type entry struct{ Method, Path, Summary, Description string }
	var all []entry
	for path, item := range s.huma.OpenAPI().Paths {
		for method, op := range map[string]*struct{ S, D string }{"GET": opText(item.Get), "POST": opText(item.Post), "PATCH": opText(item.Patch), "DELETE": opText(item.Delete)} {
			if op != nil {
				all = append(all, entry{method, path, op.S, op.D})
			}
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Path+all[i].Method < all[j].Path+all[j].Method })
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	_ = docsPage.Execute(w, all)
}
