package api

import (
	"io"
	"net/http"

	"github.com/keytrail/keytrail/domain"
)

// A recheckedWriter is the body of a long answer: before each piece it is asked whether the
// caller's key still is good.
type recheckedWriter struct {
	to      io.Writer
	recheck func() error
}

func (w recheckedWriter) Write(b []byte) (int, error) {
	if err := w.recheck(); err != nil {
		return 0, err
	}
	return w.to.Write(b)
}

// wholeStream begins an answer that holds the digests of every organization. It is a stream
// until done is called.
func (s *server) wholeStream(w http.ResponseWriter, r *http.Request, p domain.Principal, contentType string) (to io.Writer, done func(), err error) {
	if done, err = s.acquireStream(w, p); err != nil {
		return nil, nil, err
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	return recheckedWriter{w, func() error { return s.recheck(r.Context()) }}, done, nil
}
