package transport

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/keytrail/keytrail/domain"
)

// bucket is a stand-in for S3, written from "Authenticating Requests (AWS Signature Version 4)" of
// its documentation: it keeps the objects whose signature and checksums are right.
type bucket map[string][]byte

func (b bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	sum := sha256.Sum256(body)
	if r.Method != http.MethodPut || !signed(r, secret) || r.Header.Get("X-Amz-Content-Sha256") != hex.EncodeToString(sum[:]) ||
		r.Header.Get("X-Amz-Checksum-Sha256") != base64.StdEncoding.EncodeToString(sum[:]) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, "<Error><Code>SignatureDoesNotMatch</Code></Error>")
		return
	}
	b[r.URL.Path] = body
}

var authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=AKIA/(\d{8})/([a-z0-9-]+)/s3/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})$`)

// signed checks the signature of a request.
func signed(r *http.Request, secret string) bool {
	m := authorization.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil {
		return false
	}
	headers := strings.Split(m[3], ";")
	if !slices.Contains(headers, "host") || !slices.Contains(headers, "x-amz-content-sha256") || !slices.IsSorted(headers) {
		return false
	}
	canonical := r.Method + "\n" + r.RequestURI + "\n\n"
	for _, h := range headers {
		value := r.Header.Get(h)
		if h == "host" {
			value = r.Host
		}
		canonical += h + ":" + value + "\n"
	}
	hash := sha256.Sum256([]byte(canonical + "\n" + m[3] + "\n" + r.Header.Get("X-Amz-Content-Sha256")))
	toSign := "AWS4-HMAC-SHA256\n" + r.Header.Get("X-Amz-Date") + "\n" + m[1] + "/" + m[2] + "/s3/aws4_request\n" + hex.EncodeToString(hash[:])
	key := []byte("AWS4" + secret)
	for _, part := range []string{m[1], m[2], "s3", "aws4_request", toSign} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return hex.EncodeToString(key) == m[4]
}

func s3To(url string) Receiver {
	return Receiver{SinkDefinition: domain.SinkDefinition{Type: domain.SinkS3, URL: url,
		Settings: domain.SinkSettings{Bucket: "trail", Prefix: "a=b/ü (1)/", Region: "eu-west-1", AccessKeyID: "AKIA"}},
		Credentials: domain.SinkCredentials{SecretAccessKey: secret}}
}

// TestS3: one object a batch, whose repeat is the same object.
func TestS3(t *testing.T) {
	b := bucket{}
	s := newSender(t, s3To(serveHTTP(t, b.ServeHTTP)))
	events := someEvents(3, "a")
	for range 2 {
		accepted(t, s.Send(t.Context(), events))
	}
	want := "/trail/a=b/ü (1)/2026/11/20/120000.123-0123abcd-events-1-"
	for name, object := range b {
		d, err := zstd.NewReader(nil)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := d.DecodeAll(object, nil)
		d.Close()
		if err != nil || string(lines) != "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n" || !strings.HasPrefix(name, want) || !strings.HasSuffix(name, ".ndjson.zst") {
			t.Errorf("%s has %q, %v", name, lines, err)
		}
	}
	if len(b) != 1 {
		t.Errorf("%d objects", len(b))
	}
	// A batch that begins alike and has other events does not take the place of the first.
	accepted(t, s.Send(t.Context(), events[:2]))
	if len(b) != 2 {
		t.Errorf("%d objects", len(b))
	}
}

// TestS3SaysNothingAgainstEvents: whatever it answers, the events are not set aside.
func TestS3SaysNothingAgainstEvents(t *testing.T) {
	r := s3To(serveHTTP(t, bucket{}.ServeHTTP))
	r.Credentials.SecretAccessKey = "other"
	result := newSender(t, r).Send(t.Context(), someEvents(2, "a"))
	failed(t, result, 2, Again, "answered 403")
	if !strings.Contains(result.Response, "SignatureDoesNotMatch") {
		t.Errorf("the operator is shown %q", result.Response)
	}
	for _, status := range []int{400, 410, 413} {
		url := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		failed(t, newSender(t, s3To(url)).Send(t.Context(), someEvents(2, "a")), 2, Again, "answered "+fmt.Sprint(status))
	}
}
