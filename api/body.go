package api

import (
	"bytes"
	"errors"
	"io"
	"net/http"

	"github.com/keytrail/keytrail/domain"
)

// maxBody bounds the body of a management request, in bytes.
const maxBody = 1 << 20

// takeBody reads the body of a management request whole and puts it back: a request's
// fingerprint is of the text that was sent.
func takeBody(w http.ResponseWriter, r *http.Request) (body []byte, err error) {
	err = readBody(w, domain.ErrBodyTooLarge, func() error {
		body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		return err
	})
	if err == nil {
		err = ambiguous(body, nil)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body, err
}

// readBody reads a request's body without an in-flight slot, and takes one again. tooLarge is
// the refusal of a body that an http.MaxBytesReader cuts off.
func readBody(w http.ResponseWriter, tooLarge error, read func() error) error {
	slot := &w.(*responseRecorder).slot
	slot.releaseInFlight()
	err := read()
	if refusal := slot.acquireInFlight(); refusal != nil {
		return refusal
	}
	var limit *http.MaxBytesError
	var refusal *domain.Error
	switch {
	case errors.As(err, &limit):
		return tooLarge
	case err != nil && !errors.As(err, &refusal):
		return domain.ErrBodyUnreadable
	}
	return err
}
