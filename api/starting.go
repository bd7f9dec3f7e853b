package api

import (
	"net/http"
	"time"
)

// Starting answers until the service can: it lives, and whoever asks for more is told to
// come again. A key must not be called unknown because the read model is not there yet.
func Starting() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", new(server).livez)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		new(server).problem(w, r, blank(http.StatusServiceUnavailable, "starting", "the service is starting; come again in a moment"))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(Limits{}.withDefaults().WriteTimeout))
		mux.ServeHTTP(w, r)
	})
}
