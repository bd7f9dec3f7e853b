package transport

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/keytrail/keytrail/domain"
)

func webhookTo(url string, secrets ...domain.SigningSecret) Receiver {
	return Receiver{SinkDefinition: domain.SinkDefinition{Type: domain.SinkWebhook, URL: url}, Credentials: domain.SinkCredentials{Signing: secrets}}
}

func signing(b byte, until time.Time) domain.SigningSecret {
	s := domain.SigningSecret{Secret: bytes.Repeat([]byte{b}, 32)}
	if !until.IsZero() {
		s.ValidUntil = until.UnixMilli()
	}
	return s
}

// A received request of a webhook.
type received struct {
	header http.Header
	body   []byte
}

// TestWebhookIsStandard: the reference library takes it with each secret that is valid, and none
// that is not; the public key's holder takes it too.
func TestWebhookIsStandard(t *testing.T) {
	got := make(chan received, 1)
	url := serveHTTP(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- received{r.Header, body}
	})
	now := time.Now()
	newest, before, ended := signing(1, time.Time{}), signing(2, now.Add(time.Hour)), signing(3, now.Add(-time.Second))
	r := webhookTo(url, newest, before, ended)
	r.Settings.SignAsymmetric = true
	r.Credentials.Headers = map[string]string{"X-Tenant": "a", "Webhook-Id": "forged"}
	accepted(t, newSender(t, r).Send(t.Context(), someEvents(1, "a")))
	request := <-got
	for i, s := range []domain.SigningSecret{newest, before, ended} {
		w, err := standardwebhooks.NewWebhook("whsec_" + base64.StdEncoding.EncodeToString(s.Secret))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Verify(request.body, request.header); (err == nil) != (i < 2) {
			t.Errorf("secret %d: %v", i+1, err)
		}
	}
	if !verifiedByPublicKey(newest, request) || verifiedByPublicKey(ended, request) {
		t.Error("v1a is wrong")
	}
	if request.header.Get("X-Tenant") != "a" || request.header.Get("Webhook-Id") != "0123abcd-events-1" {
		t.Errorf("headers: %v", request.header)
	}
	want := `{"type":"key.revoked","timestamp":"2026-11-20T12:00:00.123Z","data":{"n":1}}`
	if string(request.body) != want {
		t.Errorf("the body is %s", request.body)
	}
}

// verifiedByPublicKey checks the signature v1a as the specification has it.
func verifiedByPublicKey(s domain.SigningSecret, r received) bool {
	public := ed25519.NewKeyFromSeed(s.Secret).Public().(ed25519.PublicKey)
	content := fmt.Sprintf("%s.%s.%s", r.header.Get("webhook-id"), r.header.Get("webhook-timestamp"), r.body)
	for signature := range strings.FieldsSeq(r.header.Get("webhook-signature")) {
		if text, ok := strings.CutPrefix(signature, "v1a,"); ok {
			raw, _ := base64.StdEncoding.DecodeString(text)
			if ed25519.Verify(public, []byte(content), raw) {
				return true
			}
		}
	}
	return false
}

// TestWebhookOfText: a body that is no JSON becomes a JSON string.
func TestWebhookOfText(t *testing.T) {
	e := someEvents(1, "a")[0]
	e.Body = []byte("CEF:0|Keytrail|\"\\|1")
	var body struct{ Data string }
	if err := json.Unmarshal(webhookBody(&e), &body); err != nil || body.Data != string(e.Body) {
		t.Errorf("%q, %v", body.Data, err)
	}
}

// TestWebhookOrder: the events of one key one after another, those of many keys at once.
func TestWebhookOrder(t *testing.T) {
	var (
		mu      sync.Mutex
		got     []string
		arrived sync.WaitGroup
	)
	arrived.Add(2) // the first events of both keys, before either is answered
	url := serveHTTP(t, func(_ http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("webhook-id")
		mu.Lock()
		got = append(got, id[len("0123abcd-events-"):])
		mu.Unlock()
		if id == "0123abcd-events-1" || id == "0123abcd-events-2" {
			arrived.Done()
			arrived.Wait()
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	accepted(t, newSender(t, webhookTo(url)).Send(ctx, someEvents(6, "a", "b")))
	a := slices.DeleteFunc(slices.Clone(got), func(n string) bool { return strings.Contains("246", n) })
	b := slices.DeleteFunc(slices.Clone(got), func(n string) bool { return strings.Contains("135", n) })
	if !slices.Equal(a, []string{"1", "3", "5"}) || !slices.Equal(b, []string{"2", "4", "6"}) {
		t.Errorf("they came as %v", got)
	}
}

// TestWebhookFailures: what fails for a while holds back its key's later events, what is rejected
// does not, and other keys are not concerned; a receiver that is down gets no more requests.
func TestWebhookFailures(t *testing.T) {
	answer := func(status int) (Result, int) {
		requests := make(chan string, 100)
		url := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
			requests <- r.Header.Get("webhook-id")
			if r.Header.Get("webhook-id") == "0123abcd-events-1" {
				w.WriteHeader(status)
				fmt.Fprint(w, "no\x00thanks", strings.Repeat("!", 2000))
			}
		})
		r := newSender(t, webhookTo(url)).Send(t.Context(), someEvents(4, "a", "b"))
		return r, len(requests)
	}
	r, n := answer(500)
	failed(t, r, 2, Again, "answered 500")
	if n != 3 || r.Failed[0] == nil || r.Failed[2] == nil {
		t.Errorf("%d requests, failed: %v", n, r.Failed)
	}
	if r.Status != 500 || len(r.Response) != 1024 || !strings.HasPrefix(r.Response, "no thanks!") {
		t.Errorf("the operator is shown %d %q", r.Status, r.Response)
	}
	for _, status := range []int{400, 413, 415, 422} {
		r, n = answer(status)
		failed(t, r, 1, Rejected, fmt.Sprint("answered ", status))
		if n != 4 {
			t.Errorf("%d: %d requests", status, n)
		}
	}
	url := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) })
	failed(t, newSender(t, webhookTo(url)).Send(t.Context(), someEvents(3, "a")), 3, Gone, "answered 410")
}

// TestWebhookWithAnEndlessAnswer: it was accepted, and the operator sees what else it said.
func TestWebhookWithAnEndlessAnswer(t *testing.T) {
	url := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := fmt.Fprint(w, strings.Repeat("a", 4096)); err != nil {
				return
			}
		}
	})
	r := newSender(t, webhookTo(url)).Send(t.Context(), someEvents(1, "a"))
	accepted(t, r)
	if !strings.HasSuffix(r.Response, "aaa (longer than 64 KiB: the rest was not read)") {
		t.Errorf("the operator is shown %q", r.Response)
	}
}

// TestWebhookStopsAtAReceiverThatIsDown: 256 keys do not wait for a timeout each.
func TestWebhookStopsAtAReceiverThatIsDown(t *testing.T) {
	requests := make(chan struct{}, 1000)
	url := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
		requests <- struct{}{}
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	failed(t, newSender(t, webhookTo(url)).Send(t.Context(), someEvents(256, keysOf(256)...)), 256, Again, "answered 503")
	if n := len(requests); n > 2*webhookParallel {
		t.Errorf("%d requests", n)
	}
}
