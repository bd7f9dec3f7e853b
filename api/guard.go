package api

import (
	"io"
	"net/http"

	"github.com/keytrail/keytrail/domain"
)

// A guard sends what takes long to send only as long as its caller may have it: each piece is
// preceded by the question whether the key still is good.
type guard struct {
	to    io.Writer
	check func() error
}

func (g guard) Write(b []byte) (int, error) {
	if err := g.check(); err != nil {
		return 0, err
	}
	return g.to.Write(b)
}

// wholeStream begins an answer that holds the digests of every organization: it serves
// installation-wide callers alone, and is a stream until done is called.
func (s *server) wholeStream(w http.ResponseWriter, r *http.Request, p domain.Principal, contentType string) (to io.Writer, done func(), err error) {
	if !p.Reach().All {
		return nil, nil, domain.ErrOutOfReach
	}
	if done, err = s.stream(w, p); err != nil {
		return nil, nil, err
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	return guard{w, func() error { return s.recheck(r.Context()) }}, done, nil
}
