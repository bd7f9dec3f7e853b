package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestASubscriberIsCutOff connects a NATS client that knows nothing of Keytrail, and ends its key in
// each way there is.
func TestASubscriberIsCutOff(t *testing.T) {
	dir := certificates(t)
	port := freePort(t)
	r := launch(t, t.TempDir(), "--nats-listen", fmt.Sprintf("0.0.0.0:%d", port), "--nats-listen-cert", filepath.Join(dir, "server.pem"), "--nats-listen-key", filepath.Join(dir, "server.key"))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(must(os.ReadFile(filepath.Join(dir, "ca.pem"))))
	connect := func(secret string, o ...nats.Option) (*nats.Conn, error) {
		o = append(o, nats.UserInfo("auditor", secret), nats.Secure(&tls.Config{RootCAs: roots}), nats.NoReconnect(), nats.Timeout(10*time.Second))
		return nats.Connect(fmt.Sprintf("tls://127.0.0.1:%d", port), o...)
	}
	for what, end := range map[string]func(org, key string){
		"revoked":  func(_, key string) { r.call(t, "POST", "/v1/keys/"+key+"/revoke", map[string]any{}, nil) },
		"disabled": func(_, key string) { r.call(t, "POST", "/v1/keys/"+key+"/disable", map[string]any{}, nil) },
		"its scope taken": func(_, key string) {
			r.call(t, "PATCH", "/v1/keys/"+key, map[string]any{"scopes": []string{"keys:read"}}, nil)
		},
		"expired": func(_, key string) {
			r.call(t, "PATCH", "/v1/keys/"+key, map[string]any{"expires_at": time.Now().Add(time.Second).UTC().Format(time.RFC3339Nano)}, nil)
		},
		"its organization suspended": func(org, _ string) { r.call(t, "POST", "/v1/organizations/"+org+"/suspend", map[string]any{}, nil) },
	} {
		t.Run(what, func(t *testing.T) {
			org := r.newOrg(t)
			var m made
			r.call(t, "POST", "/v1/keys", map[string]any{"org_id": org, "keyspace": "keytrail", "name": "siem", "scopes": []string{"audit:read"}}, &m)
			closed, said := make(chan struct{}), make(chan error, 10)
			nc, err := connect(m.Secret, nats.ClosedHandler(func(*nats.Conn) { close(closed) }),
				nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { said <- err }))
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			if err := nc.Flush(); err != nil {
				t.Fatal(err)
			}
			end(org, m.Key.ID)
			<-closed
			if err := <-said; !errors.Is(err, nats.ErrAuthRevoked) {
				t.Error(err)
			}
			until(t, "why, in the log", func() bool {
				return regexp.MustCompile(`subscriber gone" key=` + m.Key.ID + ` .* reason="?[a-z ]*(key|scope|organization)`).MatchString(r.said.String())
			})
			if _, err := connect(m.Secret); !errors.Is(err, nats.ErrAuthorization) {
				t.Errorf("it connects again: %v", err)
			}
		})
	}
	if _, err := connect(r.newKey(t, r.newOrg(t)).Secret); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("a key that is no management key: %v", err)
	}
}

// TestTheRootReadsTheLedgerOverNATS reads both streams, which tell of the reader itself.
func TestTheRootReadsTheLedgerOverNATS(t *testing.T) {
	port := freePort(t)
	r := launch(t, t.TempDir(), "--nats-listen", fmt.Sprintf("127.0.0.1:%d", port))
	nc := must(nats.Connect(fmt.Sprintf("nats://127.0.0.1:%d", port), nats.Token(r.rootKey(t)), nats.Timeout(10*time.Second)))
	defer nc.Close()
	var me struct{ ID string }
	r.call(t, "GET", "/v1/principal", nil, &me)
	for stream, want := range map[string]string{"KEYTRAIL_EVENTS": `"type":"audit.read"`, "KEYTRAIL_USES": ""} {
		c, err := must(jetstream.New(nc)).Consumer(t.Context(), stream, me.ID)
		if err != nil {
			t.Fatal(err)
		}
		until(t, stream+" tells of its reader", func() bool {
			m, err := c.Next(jetstream.FetchMaxWait(10 * time.Second))
			return err == nil && m.Ack() == nil && strings.Contains(string(m.Data()), want)
		})
	}
}

func TestNATSIsNotOpenedInPlainText(t *testing.T) {
	for _, args := range [][]string{
		{"--nats-listen", "0.0.0.0:0"}, {"--nats-listen", "0.0.0.0:0", "--plain-http"}, {"--nats-listen", ":4222"},
		{"--nats-listen", "127.0.0.1:0", "--nats-url", "nats://127.0.0.1:1"}, {"--nats-listen-cert", "x"},
	} {
		got := cli(t, "", environ(), append([]string{"serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0"}, args...)...)
		if got.code == 0 || !strings.Contains(got.err, "--nats-listen") {
			t.Errorf("%v: %+v", args, got)
		}
	}
}

// TestASubscriberReadsWhatItsSinkForwards goes from an event of an organization, over its sink, to a
// client that has the organization's key; another's events are not among them.
func TestASubscriberReadsWhatItsSinkForwards(t *testing.T) {
	t.Parallel() // it waits more than it computes
	port := freePort(t)
	files := t.TempDir()
	r := launch(t, t.TempDir(), "--nats-listen", fmt.Sprintf("127.0.0.1:%d", port), "--sink-files", files)
	org, other := r.newOrg(t), r.newOrg(t)
	var stream, file struct{ Sink struct{ ID string } }
	r.call(t, "POST", "/v1/sinks", map[string]any{"org_id": org, "name": "siem", "type": "stream", "from": "beginning"}, &stream)
	r.call(t, "POST", "/v1/sinks", map[string]any{"name": "all", "type": "file", "from": "beginning", "settings": map[string]any{"path": "trail/all.ndjson"}}, &file)
	var auditor made
	r.call(t, "POST", "/v1/keys", map[string]any{"org_id": org, "keyspace": "keytrail", "name": "auditor", "scopes": []string{"audit:read"}}, &auditor)
	r.newKey(t, other)
	key := r.newKey(t, org)
	r.call(t, "POST", "/v1/keys/"+key.Key.ID+"/revoke", map[string]any{}, nil)
	r.command(t, key.Secret, "verify")

	nc := must(nats.Connect(fmt.Sprintf("nats://127.0.0.1:%d", port), nats.UserInfo("", auditor.Secret), nats.Timeout(10*time.Second)))
	defer nc.Close()
	var c jetstream.Consumer
	until(t, "the sink has its stream", func() (ok bool) {
		var err error
		c, err = must(jetstream.New(nc)).Consumer(t.Context(), fmt.Sprintf("KEYTRAIL_STREAM_%s_%s", org, stream.Sink.ID), "subscriber")
		return err == nil
	})
	seen := ""
	until(t, "the use of the revoked key", func() bool {
		m, err := c.Next(jetstream.FetchMaxWait(time.Second))
		if err != nil {
			return false
		}
		seen += string(m.Data()) + "\n"
		return m.DoubleAck(t.Context()) == nil && strings.Contains(string(m.Data()), `"REVOKED"`)
	})
	for _, want := range []string{`"key.created"`, `"key.revoked"`, key.Key.ID} {
		if !strings.Contains(seen, want) {
			t.Errorf("no %s in %s", want, seen)
		}
	}
	if strings.Contains(seen, other) {
		t.Errorf("another's events: %s", seen)
	}
	until(t, "the file has all", func() bool {
		text, err := os.ReadFile(filepath.Join(files, "trail", "all.ndjson"))
		return err == nil && strings.Contains(string(text), `"REVOKED"`) && strings.Contains(string(text), other)
	})
	r.call(t, "DELETE", "/v1/sinks/"+stream.Sink.ID, nil, nil)
	until(t, "the stream is gone", func() bool {
		_, err := c.Info(t.Context())
		return errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrNoResponders)
	})
}
