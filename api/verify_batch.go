package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/verify"
)

// The bounds of a batch of verifications.
const (
	maxVerifyBatch     = 100
	maxVerifyBatchBody = 256 << 10
)

// verifyBatchBody is the body of a batch of verifications.
type verifyBatchBody struct {
	Keys []verifyBody `json:"keys" minItems:"1" maxItems:"100" nullable:"false" doc:"Each is verified as by itself."`
}

type verifyBatchAnswer struct {
	Answers []verifyAnswer `json:"answers" doc:"One for each, in the same order."`
}

// verifyBatch answers POST /v1/verify/batch. A body with a fault is refused whole, and nothing of it
// is recorded.
func (s *server) verifyBatch(w http.ResponseWriter, r *http.Request, p domain.Principal) error {
	body, err := s.verifyBatchBody(w, r)
	if err != nil {
		return err
	}
	requests := make([]verify.Request, len(body.Keys))
	for i := range body.Keys {
		if err := s.readVerifyBody(&body.Keys[i], &requests[i]); err != nil {
			return inKey(i, err)
		}
		requests[i].By, requests[i].RequestID = p, requestID(r.Context())
	}
	answers := make([]verify.Answer, len(requests))
	ctx, cancel := context.WithTimeout(r.Context(), eventstore.Deadline)
	defer cancel()
	if err := s.Verifier.VerifyAll(ctx, requests, answers); err != nil {
		return err
	}
	if err := s.recheck(r.Context()); err != nil {
		return err
	}
	w.Header()["Content-Type"] = jsonType
	_, _ = w.Write(appendAnswers(nil, answers)) // the client may be gone
	return nil
}

// verifyBatchBody reads the body, and waits for the position that the query names.
func (s *server) verifyBatchBody(w http.ResponseWriter, r *http.Request) (b verifyBatchBody, err error) {
	var text []byte
	err = readBody(w, domain.ErrVerifyBatchTooLarge, func() (err error) {
		text, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxVerifyBatchBody))
		return err
	})
	if err == nil { // a slow body may have outlived the caller's key
		err = s.recheck(r.Context())
	}
	if err == nil && r.URL.RawQuery != "" {
		err = s.verifyAfter(r)
	}
	if err != nil {
		return b, err
	}
	if b, err = decodeStrict[verifyBatchBody](text, "body"); err == nil && (len(b.Keys) == 0 || len(b.Keys) > maxVerifyBatch) {
		err = domain.InvalidField("keys", "must have from 1 to %d entries", maxVerifyBatch)
	}
	return b, err
}

func (s *server) readVerifyBody(b *verifyBody, r *verify.Request) error {
	texts, err := b.read(r)
	if err != nil {
		return err
	}
	return s.checkVerify(r, texts)
}

// inKey is a refusal of a member, as one of the body's i-th key.
func inKey(i int, err error) error {
	var refusal *domain.Error
	if errors.As(err, &refusal) {
		return refusal.In("keys[" + strconv.Itoa(i) + "]." + refusal.Field)
	}
	return err
}

func appendAnswers(b []byte, answers []verify.Answer) []byte {
	b = append(b, `{"answers":[`...)
	for i := range answers {
		if i > 0 {
			b = append(b, ',')
		}
		b = answers[i].AppendJSON(b)
	}
	return append(b, "]}\n"...)
}

func (s *server) documentVerifyBatch() description {
	return description{summary: "Verify several presented keys",
		details:    "Each is answered, and its use recorded, as by itself.",
		parameters: []*huma.Param{afterParam("Wait until the read model has this position.")},
		body:       &huma.RequestBody{Required: true, Content: s.jsonAnswer(verifyBatchBody{})}, answer: s.jsonAnswer(verifyBatchAnswer{})}
}
