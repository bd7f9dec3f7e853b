package api

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/backup"
	"github.com/keytrail/keytrail/domain"
)

// backUp streams the whole ledger. That it was asked for is on the ledger as a use of the
// caller's key.
func (s *server) backUp(w http.ResponseWriter, r *http.Request, p domain.Principal) error {
	to, done, err := s.wholeStream(w, r, p, "application/x-tar")
	if err != nil {
		return err
	}
	defer done()
	if !s.backingUp.TryLock() {
		return domain.ErrBackupRunning
	}
	defer s.backingUp.Unlock()
	s.Logger.InfoContext(r.Context(), "back-up begins", "key", p.ID, "request_id", requestID(r.Context()))
	ctx, stop := s.whileServing(r.Context())
	defer stop()
	if err := backup.Write(ctx, to, s.Ledger, s.Version, s.Now()); err != nil {
		s.abort(r, err)
	}
	s.Logger.InfoContext(r.Context(), "back-up ends", "key", p.ID, "request_id", requestID(r.Context()))
	return nil
}

func documentBackup() description {
	return description{summary: "Back up the ledger", details: "A tar with every event and every use up to now, digests included; keytrail restore reads it.",
		answer: map[string]*huma.MediaType{"application/x-tar": {Schema: &huma.Schema{Type: "string", Format: "binary"}}}}
}
