package api

import (
	"net/http"
	"strings"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// Starting answers until the service can: it is live, and all other requests are refused for
// now. A key must not be called unknown because the read model is not there yet.
func Starting() http.Handler {
	s := new(server)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(Limits{}.withDefaults().WriteTimeout))
		if r.URL.Path == "/livez" {
			s.livez(w, r)
			return
		}
		if strings.HasPrefix(r.URL.Path, authorizePrefix) {
			w.Header().Set("X-Keytrail-Outcome", string(domain.ReplyUnavailable))
		}
		s.problem(w, r, domain.ErrStarting)
	})
}
