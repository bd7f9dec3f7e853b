package witness

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	formats "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/keytrail/keytrail/audit"
)

// A Client asks one witness.
type Client struct {
	Name string // in the policy
	url  string
	keys []note.Verifier
	web  *http.Client
}

// askTimeout bounds one request: a witness verifies, signs and writes a file.
const askTimeout = 5 * time.Second

// maxAnswer bounds an answer: signatures of 3.5 kB each.
const maxAnswer = 64 << 10

// ParseClients are the witnesses of a policy (C2SP tlog-policy), each of which must have a URL.
// Several with one URL are keys of one witness.
func ParseClients(policy []byte) (clients []*Client, err error) {
	byURL := map[string]*Client{}
	for line := range strings.Lines(string(policy)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "witness" {
			continue
		}
		if len(fields) < 4 {
			return nil, fmt.Errorf("a witness that is to be asked needs a name, a key and a URL: %.80q", line)
		}
		v, err := formats.NewVerifierForCosignatureV1(fields[2])
		if err != nil {
			return nil, fmt.Errorf("witness %s: %w", fields[1], err)
		}
		url := strings.TrimSuffix(fields[3], "/")
		if !strings.HasPrefix(url, "https://") && !strings.HasPrefix(url, "http://") {
			return nil, fmt.Errorf("witness %s: %.100q is no URL of HTTP", fields[1], url)
		}
		c := byURL[url]
		if c == nil {
			c = &Client{Name: fields[1], url: url, web: newWeb()}
			byURL[url], clients = c, append(clients, c)
		}
		c.keys = append(c.keys, v)
	}
	return clients, nil
}

// newWeb follows no redirect: a witness is at the address that the operator wrote.
func newWeb() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone() // with the proxy that the environment names
	t.MaxConnsPerHost, t.MaxResponseHeaderBytes = 2, 16<<10
	return &http.Client{Transport: t, Timeout: askTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// ask has a checkpoint cosigned that goes on from the tree of the size old. The signatures are
// those of the witness's keys; of others it may send what it likes.
func (c *Client) ask(ctx context.Context, checkpoint audit.Checkpoint, old int64, proof []tlog.Hash) ([]note.Signature, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/add-checkpoint", bytes.NewReader(request(checkpoint.Note, old, proof)))
	if err != nil {
		return nil, err
	}
	answer, err := c.web.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	switch answer.StatusCode {
	case http.StatusOK:
		return c.signatures(checkpoint.Note, body)
	case http.StatusConflict:
		size, err := parseSize(strings.TrimSuffix(string(body), "\n"))
		if err != nil || answer.Header.Get("Content-Type") != sizeType {
			return nil, errors.New("it answers 409 without the size that it knows")
		}
		return nil, &conflict{size}
	}
	return nil, fmt.Errorf("it answers %s: %.200q", answer.Status, bytes.TrimSpace(body))
}

func request(checkpoint []byte, old int64, proof []tlog.Hash) []byte {
	b := fmt.Appendf(nil, "old %d\n", old)
	for _, h := range proof {
		b = append(base64.StdEncoding.AppendEncode(b, h[:]), '\n')
	}
	return append(append(b, '\n'), checkpoint...)
}

// signatures are those of the witness in its answer, checked.
func (c *Client) signatures(checkpoint, answer []byte) ([]note.Signature, error) {
	text, _, _ := bytes.Cut(checkpoint, []byte("\n\n"))
	n, err := note.Open(bytes.Join([][]byte{text, []byte("\n\n"), answer}, nil), note.VerifierList(c.keys...))
	if err != nil {
		return nil, fmt.Errorf("it answers with something else than its signature: %w", err)
	}
	return n.Sigs, nil
}
