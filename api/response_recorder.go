package api

import (
	"net/http"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// A passage is one request on its way, and the writer of its answer.
type passage struct {
	http.ResponseWriter
	place
	id        string
	route     string
	begun     time.Time
	status    int  // 0: not answered yet
	streaming bool // each write has a deadline of its own
	access    access
	span      trace.Span
}

// WriteHeader sends the status, of which there is one.
func (p *passage) WriteHeader(status int) {
	if p.status == 0 {
		p.status = status
		p.answers()
		p.ResponseWriter.WriteHeader(status)
	}
}

func (p *passage) Write(b []byte) (int, error) {
	if p.status == 0 {
		p.status = http.StatusOK
		p.answers()
	} else if p.streaming {
		p.limitWriting()
	}
	return p.ResponseWriter.Write(b)
}

// answers is called when the answer begins: all that is left is for its client to take it.
func (p *passage) answers() {
	p.freePlace()
	p.limitWriting()
}

func (p *passage) limitWriting() {
	_ = http.NewResponseController(p.ResponseWriter).SetWriteDeadline(time.Now().Add(p.gate.WriteTimeout))
}

// Unwrap lets http.ResponseController reach the connection.
func (p *passage) Unwrap() http.ResponseWriter { return p.ResponseWriter }
