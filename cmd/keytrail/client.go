package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/internal/backoff"
)

// A client calls the service for a person.
type client struct {
	url, keyFile string
	ca           string
	json         bool
	errs         io.Writer // for what is said beside an answer
	keyFlag      *pflag.Flag
	web          *http.Client // made by the first request
}

func (c *client) flags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&c.url, "url", envOr("KEYTRAIL_URL", "http://127.0.0.1:8080"), "where the service is (KEYTRAIL_URL)")
	f.StringVar(&c.keyFile, "key-file", os.Getenv("KEYTRAIL_KEY_FILE"), "file with the management key (KEYTRAIL_KEY_FILE); default ./keytrail-data/root.key if KEYTRAIL_KEY is not set")
	c.keyFlag = f.Lookup("key-file")
	f.StringVar(&c.ca, "ca", os.Getenv("KEYTRAIL_CA"), "file with a certificate authority to trust beside the system's (KEYTRAIL_CA)")
	f.BoolVar(&c.json, "json", false, "print JSON for programs")
}

func envOr(name, other string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return other
}

// key is the management key. It is taken from a file or the environment, never from the
// arguments, which other users of the machine can see.
func (c *client) key() (string, error) {
	path := c.keyFile
	if direct := os.Getenv("KEYTRAIL_KEY"); direct != "" && !c.keyFlag.Changed {
		if path != "" {
			return "", errors.New("KEYTRAIL_KEY and KEYTRAIL_KEY_FILE are both set; set one")
		}
		return direct, nil
	}
	if path == "" {
		path = "keytrail-data/root.key"
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("no management key: set KEYTRAIL_KEY or --key-file (%w)", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// A problem is a refusal by the service.
type problem struct {
	Status int              `json:"status"`
	Code   string           `json:"code"`
	Detail string           `json:"detail"`
	Errors []api.FieldError `json:"errors"`
	wait   time.Duration    // until trying again is of use; 0: not said
}

func (p *problem) Error() string { return fmt.Sprintf("%s (%s)", p.Detail, p.Code) }

// unreachable is no answer at all.
type unreachable struct{ cause error }

func (e *unreachable) Error() string {
	if errors.Is(e.cause, context.Canceled) {
		return "interrupted"
	}
	return "the service cannot be reached: " + e.cause.Error()
}
func (e *unreachable) Unwrap() error { return e.cause }

// do makes a request.
func (c *client) do(r *http.Request) (*http.Response, error) {
	if c.web == nil {
		var err error
		if c.web, err = newWeb(c.ca); err != nil {
			return nil, err
		}
	}
	answer, err := c.web.Do(r)
	if err != nil {
		return nil, &unreachable{err}
	}
	return answer, nil
}

// newWeb trusts the authority in ca, if there is one, beside the system's. An answer as a whole
// has no deadline: a replay may take hours.
func newWeb(ca string) (*http.Client, error) {
	t := http.DefaultTransport.(*http.Transport).Clone() // with the proxy that the environment names
	t.DialContext = (&net.Dialer{Timeout: 5 * time.Second}).DialContext
	t.TLSHandshakeTimeout = 5 * time.Second
	t.ResponseHeaderTimeout = 5 * time.Minute // a bulk revocation answers when it is done
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		var err error
		if t.TLSClientConfig.RootCAs, err = trusted(ca); err != nil {
			return nil, err
		}
	}
	// The service never redirects; to follow a redirect would send the key to another server.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &http.Client{Transport: t, CheckRedirect: stay}, nil
}

// send makes one request; the caller closes the answer's body.
func (c *client) send(ctx context.Context, method, path string, query url.Values, header http.Header, body io.Reader) (*http.Response, error) {
	key, err := c.key()
	if err != nil {
		return nil, err
	}
	if header = header.Clone(); header == nil {
		header = http.Header{}
	}
	header.Set("Authorization", "Bearer "+key)
	return c.sendBare(ctx, method, path, query, header, body)
}

// sendBare is send without the key.
func (c *client) sendBare(ctx context.Context, method, path string, query url.Values, header http.Header, body io.Reader) (*http.Response, error) {
	target := strings.TrimSuffix(c.url, "/") + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		r.Header[name] = values
	}
	answer, err := c.do(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode < 300 {
		return answer, nil
	}
	defer answer.Body.Close()
	p := &problem{Status: answer.StatusCode, Code: "http_" + fmt.Sprint(answer.StatusCode), Detail: answer.Status}
	_ = json.NewDecoder(io.LimitReader(answer.Body, 1<<20)).Decode(p) // a proxy's answer may be no problem
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && p.Status == http.StatusTooManyRequests {
		p.wait = time.Duration(seconds) * time.Second
		p.Detail += fmt.Sprintf(" %v", p.wait)
	}
	return nil, p
}

// call sends in, if it is not nil, as JSON, and reads the answer into out.
func (c *client) call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	return c.callOnce(ctx, rand.Text(), method, path, query, in, out)
}

// callOnce is call for a write that id names: the service carries it out once. One without an
// id must change nothing when it is repeated.
func (c *client) callOnce(ctx context.Context, id, method, path string, query url.Values, in, out any) error {
	header := http.Header{}
	if method != http.MethodGet && id != "" {
		header.Set("Idempotency-Key", id)
	}
	return c.callWith(ctx, header, method, path, query, in, out)
}

// callWith is call with headers.
func (c *client) callWith(ctx context.Context, header http.Header, method, path string, query url.Values, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
		header.Set("Content-Type", "application/json")
	}
	return c.retry(ctx, func() error {
		answer, err := c.send(ctx, method, path, query, header, bytes.NewReader(body))
		if err != nil {
			return err
		}
		return read(answer, out)
	})
}

// read reads an answer; nil: it has no body. One that does not arrive whole is none.
func read(answer *http.Response, out any) error {
	defer answer.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(answer.Body).Decode(out); err != nil {
		return &unreachable{err}
	}
	return nil
}

// attempts and firstPause bound how long the command line waits for a service that
// restarts: some three seconds. A rate limit that is free again within longestPause is
// waited for.
const (
	attempts     = 5
	firstPause   = 200 * time.Millisecond
	longestPause = time.Minute
)

// retry repeats a request that had no answer, or was told to come again, and says so once.
// The service knows a repeated write by its Idempotency-Key.
func (c *client) retry(ctx context.Context, request func() error) error {
	for i := range attempts - 1 {
		err := request()
		pause, again := temporary(err)
		if !again || ctx.Err() != nil {
			return err
		}
		if i == 0 {
			fmt.Fprintf(c.errs, "keytrail: %v; trying again\n", err)
		}
		if backoff.Sleep(ctx, max(pause, firstPause<<i)) != nil {
			return err
		}
	}
	return request()
}

// temporary reports whether err may be gone after a pause.
func temporary(err error) (pause time.Duration, ok bool) {
	var p *problem
	if !errors.As(err, &p) {
		return 0, errors.As(err, new(*unreachable))
	}
	switch p.Status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return 0, true
	case http.StatusTooManyRequests:
		return p.wait, 0 < p.wait && p.wait <= longestPause
	}
	return 0, false
}

// show prints an answer: as JSON, or as a person reads it.
func (c *client) show(cmd *cobra.Command, answer any, person func(io.Writer)) error {
	if c.json {
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetIndent("", "  ")
		return e.Encode(answer)
	}
	person(cmd.OutOrStdout())
	return nil
}

// table prints rows under a heading.
func table(w io.Writer, heading string, rows [][]string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.ReplaceAll(heading, " ", "\t"))
	for _, r := range rows {
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	_ = t.Flush()
}

func healthCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "health", Short: "Tell whether the service is ready, for container health checks", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, strings.TrimSuffix(c.url, "/")+"/readyz", nil)
			if err != nil {
				return err
			}
			answer, err := c.do(r)
			if err != nil {
				return err
			}
			defer answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				return &problem{Status: answer.StatusCode, Code: "not_ready", Detail: "the service is not ready"}
			}
			fmt.Fprintln(cmd.OutOrStdout(), "ready")
			return nil
		}}
}
