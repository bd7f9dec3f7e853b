package api

import (
	"bytes"
	"net/http"
)

// A bufferedResponse is an answer in memory.
type bufferedResponse struct {
	bytes.Buffer
	header http.Header
	status int
}

func newBufferedResponse() *bufferedResponse { return &bufferedResponse{header: http.Header{}} }

func (r *bufferedResponse) Header() http.Header    { return r.header }
func (r *bufferedResponse) WriteHeader(status int) { r.status = status }
