package witness

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"
)

// maxRequest bounds a request: 63 hashes, and a checkpoint with signatures of 3.5 kB each.
const maxRequest = 128 << 10

// maxProof is the number of hashes in a consistency proof, and so its lines.
const maxProof = 63

// sizeType is the content type of the answer with the size of the last checkpoint.
const sizeType = "text/x.tlog.size"

// Handler answers logs, and monitors. It needs no credentials: what it signs is signed by a log
// that it knows.
func (w *Witness) Handler(log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add-checkpoint", func(to http.ResponseWriter, r *http.Request) { w.addCheckpoint(to, r, log) })
	mux.HandleFunc("GET /{origin}/checkpoint", func(to http.ResponseWriter, r *http.Request) {
		text := w.checkpoint(r.PathValue("origin"))
		if text == nil {
			http.NotFound(to, r)
			return
		}
		to.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = to.Write(text)
	})
	return mux
}

func (w *Witness) addCheckpoint(to http.ResponseWriter, r *http.Request, log *slog.Logger) {
	body, err := io.ReadAll(http.MaxBytesReader(to, r.Body, maxRequest))
	if err != nil {
		http.Error(to, "the request is too long, or did not arrive whole", http.StatusBadRequest)
		return
	}
	old, proof, checkpoint, err := parseRequest(body)
	var lines []byte
	if err == nil {
		lines, err = w.cosign(checkpoint, old, proof)
	}
	if err != nil {
		refuse(to, r, err, log)
		return
	}
	to.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = to.Write(lines)
}

// refuse answers with the status that the protocol has for err.
func refuse(to http.ResponseWriter, r *http.Request, err error, log *slog.Logger) {
	var c *conflict
	status := http.StatusBadRequest
	switch {
	case errors.As(err, &c):
		to.Header().Set("Content-Type", sizeType)
		to.WriteHeader(http.StatusConflict)
		_, _ = fmt.Fprintf(to, "%d\n", c.size)
		return
	case errors.Is(err, errUnknownLog):
		status = http.StatusNotFound
	case errors.Is(err, errNotSigned):
		status = http.StatusForbidden
	case errors.Is(err, errInconsistent): // which the log's own key has signed
		log.ErrorContext(r.Context(), "a log shows another history than before", "err", err)
		status = http.StatusUnprocessableEntity
	case errors.As(err, new(*stateError)):
		log.ErrorContext(r.Context(), "nothing is signed: the state cannot be written", "err", err)
		http.Error(to, "the witness cannot write what it signs", http.StatusInternalServerError)
		return
	}
	http.Error(to, err.Error(), status)
}

var errRequest = errors.New("the request is not an old size, a proof and a checkpoint")

// parseRequest reads the body of add-checkpoint.
func parseRequest(body []byte) (old int64, proof tlog.TreeProof, checkpoint []byte, err error) {
	head, checkpoint, ok := bytes.Cut(body, []byte("\n\n"))
	lines := bytes.Split(head, []byte("\n"))
	size, isSize := bytes.CutPrefix(lines[0], []byte("old "))
	if !ok || !isSize || len(lines) > 1+maxProof {
		return 0, nil, nil, errRequest
	}
	if old, err = parseSize(string(size)); err != nil {
		return 0, nil, nil, err
	}
	for _, line := range lines[1:] {
		h, err := base64.StdEncoding.DecodeString(string(line))
		if err != nil || len(h) != tlog.HashSize {
			return 0, nil, nil, errRequest
		}
		proof = append(proof, tlog.Hash(h))
	}
	return old, proof, checkpoint, nil
}

// parseSize reads a size in its one spelling.
func parseSize(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != text {
		return 0, errRequest
	}
	return n, nil
}
