package api

import (
	"embed"
	"net/http"

	"github.com/keytrail/keytrail/domain"
)

// docsFiles are the page that shows the OpenAPI document, and the viewer that it uses.
//
//go:embed docs/page.html docs/start.js docs/swagger-ui-bundle.js docs/swagger-ui-bundle.js.LICENSE.txt docs/swagger-ui.css docs/LICENSE docs/NOTICE
var docsFiles embed.FS

// docsPolicy lets the page load what this service serves and nothing else: no script of
// another origin, none in the page itself, no eval, no frame around it. The viewer sets
// styles on its elements, and has its icons in its style sheet.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// docs serves the page and its parts.
func (s *server) docs(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	if name == "" {
		name = "page.html"
	}
	if _, err := docsFiles.Open("docs/" + name); err != nil {
		s.problem(w, r, domain.ErrRouteNotFound)
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", docsPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	http.ServeFileFS(w, r, docsFiles, "docs/"+name)
}
