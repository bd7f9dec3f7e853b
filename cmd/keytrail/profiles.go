package main

import (
	"errors"
	"log/slog"
	"net/http"
	_ "net/http/pprof" // served only on --pprof-listen
	"time"
)

// serveProfiles serves profiles on address, if there is one, until what it gives is called.
func serveProfiles(address string, log *slog.Logger) (stop func() error) {
	if address == "" {
		return func() error { return nil }
	}
	profiles := &http.Server{Addr: address, Handler: http.DefaultServeMux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := profiles.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			log.Error("no profiles are served", "address", address, "err", err)
		}
	}()
	return profiles.Close
}
