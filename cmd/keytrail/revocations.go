package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

var typeRevoked = domain.TypeOf(domain.KeyRevoked{})

// revoke revokes again what is known to have been revoked since.
func (r *restoration) revoke(ctx context.Context, nc *nats.Conn) error {
	source, err := r.openRevocations(ctx)
	if err != nil {
		return err
	}
	defer source.Close()
	ledger, err := eventstore.Open(ctx, nc, eventstore.Options{Replicas: r.Replicas, Unconfirmed: true, Logger: r.log})
	if err != nil {
		return err
	}
	handler := commands.New(ledger, commands.Options{Logger: r.log})
	revoked, unknown := 0, 0
	lines := bufio.NewScanner(source)
	for lines.Buffer(nil, 1<<20); lines.Scan(); {
		err := revokeAgain(ctx, handler, lines.Bytes())
		switch {
		case errors.Is(err, domain.ErrKeyNotFound):
			unknown++
		case err != nil:
			return fmt.Errorf("revocation %d: %w", revoked+unknown+1, err)
		default:
			revoked++
		}
	}
	if lines.Err() != nil {
		return lines.Err()
	}
	r.say("%d revocations are in force, %d are of keys that the back-up does not have.", revoked, unknown)
	return nil
}

func (r *restoration) openRevocations(ctx context.Context) (io.ReadCloser, error) {
	if !strings.HasPrefix(r.revocations, "http://") && !strings.HasPrefix(r.revocations, "https://") {
		return os.Open(r.revocations)
	}
	c := *r.client
	c.url = r.revocations
	answer, err := c.send(ctx, http.MethodGet, "/v1/events", url.Values{"type": {typeRevoked}}, http.Header{"Accept": {"application/x-ndjson"}}, nil)
	if err != nil {
		return nil, err
	}
	return answer.Body, nil
}

// revokeAgain carries out one key.revoked event, as events replay writes it.
func revokeAgain(ctx context.Context, h *commands.Handler, line []byte) error {
	var e struct {
		Type    string
		Subject string
		Org     string `json:"orgid"`
		Actor   string
		Time    time.Time
		Data    struct {
			Reason domain.Reason
		}
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return err
	}
	if e.Type != typeRevoked {
		return fmt.Errorf("%q is not %[2]s: keytrail events replay --type %[2]s writes those alone", e.Type, typeRevoked)
	}
	org, err := domain.ParseOrgID(e.Org)
	if err != nil {
		return err
	}
	key, err := domain.ParseKeyID(e.Subject)
	if err != nil {
		return err
	}
	_, err = h.RevokeKey(ctx, commands.RevokeKey{Request: commands.Request{By: domain.System}, Org: org, Key: key, Reason: e.Data.Reason,
		Comment: fmt.Sprintf("revoked %s by %s, after the back-up that was restored", e.Time.Format(time.RFC3339), e.Actor)})
	return err
}
