package api

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

const (
	maxImportLines = 10_000
	maxImportBody  = 16 << 20
	maxImportLine  = 64 << 10
	maxImportTime  = 2 * time.Minute // for the body to arrive
)

// importLine is one key issued elsewhere.
type importLine struct {
	Org         string `json:"org_id,omitempty" doc:"Default: the caller's."`
	Keyspace    string `json:"keyspace,omitempty"`
	Environment string `json:"environment,omitempty"`
	domain.Settings
	Digest string `json:"digest" doc:"SHA-256 of the secret as 64 hex characters. A secret is printable ASCII without spaces, at most 512 characters."`
	Prefix string `json:"prefix,omitempty" doc:"What may be shown of the secret."`
}

type importResult struct {
	Line   int          `json:"line"`
	Status string       `json:"status" enum:"imported,exists,failed"`
	Key    domain.KeyID `json:"key_id,omitempty"`
	Code   string       `json:"code,omitempty"`
	Detail string       `json:"detail,omitempty"`
}

type importAnswer struct {
	Imported int            `json:"imported"`
	Existing int            `json:"existing"`
	Failed   int            `json:"failed"`
	Results  []importResult `json:"results"`
}

// importKeys takes NDJSON, a key a line. Each line stands for itself: those that are fine
// are imported, and repeating the whole changes nothing.
func (s *server) importKeys(w http.ResponseWriter, r *http.Request, p domain.Principal) error {
	var lines [][]byte
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(maxImportTime))
	err := readBody(w, domain.ErrImportTooLarge, func() (err error) {
		lines, err = readLines(http.MaxBytesReader(w, r.Body, maxImportBody))
		return err
	})
	if err == nil { // a slow body may have outlived the caller's key
		err = s.recheck(r.Context())
	}
	if err != nil {
		return err
	}
	a := importAnswer{Results: make([]importResult, len(lines))}
	var last eventstore.Position
	inParallel(s, lines, func(line []byte) (commands.KeyResult, error) { return s.importLine(r.Context(), p, line) },
		func(i int, result commands.KeyResult, err error) {
			last = max(last, result.Position)
			var problem *Problem
			if err != nil {
				problem = s.asProblem(r.Context(), err)
			}
			a.add(i, result, problem)
		})
	if err := s.waitFor(r.Context(), last); err != nil {
		return err
	}
	w.Header().Set("Keytrail-Position", strconv.FormatUint(uint64(cmp.Or(last, s.Store.Position())), 10))
	writeJSON(w, a)
	return nil
}

// add puts what became of the line i into the answer; problem is why it failed, nil if it did not.
func (a *importAnswer) add(i int, r commands.KeyResult, problem *Problem) {
	result := importResult{Line: i + 1, Status: "imported", Key: r.Key.ID}
	switch {
	case problem != nil:
		result = importResult{Line: i + 1, Status: "failed", Code: problem.Code, Detail: problem.Detail}
		a.Failed++
	case r.Replayed:
		result.Status = "exists"
		a.Existing++
	default:
		a.Imported++
	}
	a.Results[i] = result
}

func readLines(body io.Reader) (lines [][]byte, err error) {
	scanner := bufio.NewScanner(body)
	scanner.Buffer(nil, maxImportLine)
	for scanner.Scan() {
		if line := bytes.TrimSpace(scanner.Bytes()); len(line) > 0 {
			lines = append(lines, bytes.Clone(line))
		}
		if len(lines) > maxImportLines {
			return nil, domain.ErrImportTooLarge
		}
	}
	if errors.Is(scanner.Err(), bufio.ErrTooLong) {
		return nil, domain.ErrImportTooLarge
	}
	if scanner.Err() == nil && len(lines) == 0 {
		return nil, domain.InvalidField("body", "send one JSON object a line")
	}
	return lines, scanner.Err()
}

func (s *server) importLine(ctx context.Context, p domain.Principal, text []byte) (commands.KeyResult, error) {
	line, err := decodeStrict[importLine](text, "line")
	if err != nil {
		return commands.KeyResult{}, err
	}
	d, err := domain.ParseDigest(line.Digest)
	if err != nil {
		return commands.KeyResult{}, err
	}
	org, err := within(p, line.Org)
	if err != nil {
		return commands.KeyResult{}, err
	}
	return s.Commands.ImportKey(ctx, commands.ImportKey{
		Request: commands.Request{By: p, Correlation: requestID(ctx)}, Org: org, Keyspace: line.Keyspace, Environment: line.Environment, Digest: d, Prefix: line.Prefix, Settings: line.Settings,
	})
}

func (s *server) documentImport() description {
	line := s.media(importLine{}).Schema
	lines := &huma.Schema{Type: "string", Description: "One ImportLine, as JSON, a line.",
		Extensions: map[string]any{"contentMediaType": "application/x-ndjson", "contentSchema": line}}
	return description{summary: "Import digests of keys issued elsewhere", details: "One JSON object a line, at most 10,000 lines of 64 KiB, in all 16 MiB. Each line stands for itself; repeating the whole changes nothing.",
		body:   &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/x-ndjson": {Schema: lines}}},
		answer: s.jsonAnswer(importAnswer{}), headers: map[string]string{"Keytrail-Position": "Give it as after to a reader of another node."}}
}
