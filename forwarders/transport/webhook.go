package transport

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/forwarders/outbound"
)

// Bounds of one Send to a webhook: 64 deliveries at once, and enough events that most of these have
// something to do while the slowest is waited for; few enough that, if they are all of one key, a
// receiver that takes 200 ms for each is done within a minute.
const (
	webhookParallel = 64
	webhookEvents   = 256
	webhookBytes    = 8 << 20
)

// A webhook delivers each event with a request of its own, as Standard Webhooks 1.0.0 says.
type webhook struct {
	httpReceiver
	secrets    []domain.SigningSecret
	asymmetric bool
}

func newWebhook(r Receiver, e Environment) (Sender, error) {
	h, err := newHTTPReceiver(r, e)
	if err != nil {
		return nil, err
	}
	for _, s := range r.Credentials.Signing {
		if len(s.Secret) != ed25519.SeedSize {
			return nil, fmt.Errorf("a signing secret has %d bytes, not %d", len(s.Secret), ed25519.SeedSize)
		}
	}
	return &webhook{httpReceiver: h, secrets: r.Credentials.Signing, asymmetric: r.Settings.SignAsymmetric}, nil
}

func (w *webhook) Limits() Limits { return Limits{Events: webhookEvents, Bytes: webhookBytes} }

// Send delivers the events of each key one after another, and those of different keys at once.
func (w *webhook) Send(ctx context.Context, events []Event) Result {
	d := delivery{webhook: w, events: events, result: Result{Failed: map[int]*Failure{}}}
	keys := make(chan []int)
	var workers sync.WaitGroup
	byKey := indexesByKey(events)
	for range min(webhookParallel, len(byKey)) {
		workers.Go(func() {
			for indexes := range keys {
				d.deliverInOrder(ctx, indexes)
			}
		})
	}
	for _, indexes := range byKey {
		keys <- indexes
	}
	close(keys)
	workers.Wait()
	return d.result
}

// indexesByKey are the indexes of the events of each key, in the order of the keys' first events.
func indexesByKey(events []Event) (all [][]int) {
	places := map[string]int{}
	for i := range events {
		at, ok := places[events[i].Key]
		if !ok {
			at = len(all)
			places[events[i].Key] = at
			all = append(all, nil)
		}
		all[at] = append(all[at], i)
	}
	return all
}

// A delivery is one Send.
type delivery struct {
	*webhook
	events []Event

	mu     sync.Mutex
	result Result
	halted *Failure // of the receiver as a whole: nothing more is sent
}

// deliverInOrder delivers the events of one key. After a failure that may pass, those behind it
// wait for it.
func (d *delivery) deliverInOrder(ctx context.Context, indexes []int) {
	for n, i := range indexes {
		f := d.stopped()
		if f == nil {
			var a outbound.Answer
			a, f = d.deliver(ctx, &d.events[i])
			d.note(i, a, f)
		}
		if f != nil && f.Kind != Rejected {
			d.fail(indexes[n:], f)
			return
		}
	}
}

func (d *delivery) stopped() *Failure {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.halted
}

// note keeps the outcome of one request; what the operator is shown is the last failure's, or the
// last answer.
func (d *delivery) note(i int, a outbound.Answer, f *Failure) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f != nil || len(d.result.Failed) == 0 {
		d.result.Status, d.result.Response = a.Status, d.response(a)
	}
	if f == nil {
		return
	}
	d.result.Failed[i] = f
	if ofReceiver(f) {
		d.halted = f
	}
}

func (d *delivery) fail(indexes []int, f *Failure) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, i := range indexes {
		d.result.Failed[i] = f
	}
}

// ofReceiver reports whether a failure is not of the one event: there was no answer, or one that
// asks for fewer requests or for none.
func ofReceiver(f *Failure) bool {
	return f.Kind == Gone || f.Status == 0 || f.Status == http.StatusTooManyRequests || f.Status == http.StatusServiceUnavailable
}

// deliver makes one request.
func (w *webhook) deliver(ctx context.Context, e *Event) (outbound.Answer, *Failure) {
	now := time.Now()
	body := webhookBody(e)
	return w.post(ctx, w.url, body, map[string]string{
		"Content-Type":      "application/json",
		"Webhook-Id":        e.ID,
		"Webhook-Timestamp": strconv.FormatInt(now.Unix(), 10),
		"Webhook-Signature": w.sign(e.ID, now, body),
	})
}

// webhookBody is the payload that the specification recommends.
func webhookBody(e *Event) []byte {
	body := jsonBody(e)
	b := make([]byte, 0, len(body)+96)
	b = append(b, `{"type":`...)
	b = strconv.AppendQuote(b, e.Type) // letters, dots and underscores
	b = append(b, `,"timestamp":"`...)
	b = e.Time.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","data":`...)
	return append(append(b, body...), '}')
}

// sign is the header webhook-signature: a signature by each secret that is valid now, so that a
// receiver may change from one to the other at any moment of the overlap.
func (w *webhook) sign(id string, now time.Time, body []byte) string {
	content := make([]byte, 0, len(id)+len(body)+16)
	content = append(append(content, id...), '.')
	content = append(strconv.AppendInt(content, now.Unix(), 10), '.')
	content = append(content, body...)
	var signatures []string
	for _, s := range w.secrets {
		if s.ValidUntil != 0 && s.ValidUntil <= now.UnixMilli() {
			continue
		}
		mac := hmac.New(sha256.New, s.Secret)
		mac.Write(content)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		if w.asymmetric {
			signature := ed25519.Sign(ed25519.NewKeyFromSeed(s.Secret), content)
			signatures = append(signatures, "v1a,"+base64.StdEncoding.EncodeToString(signature))
		}
	}
	return strings.Join(signatures, " ")
}
