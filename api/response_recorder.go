package api

import (
	"net/http"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// A responseRecorder writes the answer to one request, and has what metrics, the access log
// and the request's span say of it. It gives the request's slot back when the answer begins.
type responseRecorder struct {
	http.ResponseWriter
	slot
	id        string
	route     string
	begun     time.Time
	status    int  // 0: not answered yet
	streaming bool // each write has a deadline of its own
	access    accessEntry
	span      trace.Span
}

// WriteHeader sends the status, of which there is one.
func (w *responseRecorder) WriteHeader(status int) {
	if w.status == 0 {
		w.begin(status)
		w.ResponseWriter.WriteHeader(status)
	}
}

func (w *responseRecorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.begin(http.StatusOK)
	} else if w.streaming {
		w.setWriteDeadline()
	}
	return w.ResponseWriter.Write(b)
}

// begin is called when the answer begins: all that is left is for its client to take it.
func (w *responseRecorder) begin(status int) {
	w.status = status
	w.releaseInFlight()
	w.setWriteDeadline()
}

func (w *responseRecorder) setWriteDeadline() {
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(w.admission.WriteTimeout))
}

// Unwrap lets http.ResponseController reach the connection.
func (w *responseRecorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
