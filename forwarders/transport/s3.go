package transport

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"net/http"
	"net/url"
	"path"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go/encoding/httpbinding"
	"github.com/klauspost/compress/zstd"

	"github.com/keytrail/keytrail/forwarders/outbound"
)

// Bounds of an object: large enough that there are not too many of them, small enough to be sent
// within the time of a request over a slow line (8 MiB are about 1 MiB compressed).
const (
	s3Events = 50_000
	s3Bytes  = 8 << 20
	s3Linger = 30 * time.Second
)

// s3 stores each batch as an object of NDJSON, compressed with zstd, in a bucket of S3 or of a
// server that is like it.
//
// An object is named after its first event and a hash of its content, so that a repeat of a request,
// even one that was under way for long and comes late, overwrites an object with what it has. After
// a crash a batch may end elsewhere than the one before it did: then two objects have some events in
// common, which their readers drop by their ids.
type s3 struct {
	httpReceiver
	bucket, prefix string
	region         string
	credentials    aws.Credentials
	signer         *v4.Signer
}

// s3Encoder is of all sinks: its megabytes of tables would be too many for each. Two batches at a
// time are compressed; the window of 1 MiB is what every reader takes.
var s3Encoder = func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(2), zstd.WithWindowSize(1<<20))
	if err != nil {
		panic(err) // of options that are constants
	}
	return e
}()

func newS3(r Receiver, e Environment) (Sender, error) {
	h, err := newHTTPReceiver(r, e)
	if err != nil {
		return nil, err
	}
	return &s3{
		httpReceiver: h, bucket: r.Settings.Bucket, prefix: r.Settings.Prefix,
		region:      cmp.Or(r.Settings.Region, "us-east-1"),
		credentials: aws.Credentials{AccessKeyID: r.Settings.AccessKeyID, SecretAccessKey: r.Credentials.SecretAccessKey},
		// S3 wants the path as it is sent, not escaped a second time.
		signer: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }),
	}, nil
}

func (s *s3) Limits() Limits { return Limits{Events: s3Events, Bytes: s3Bytes, Linger: s3Linger} }

func (s *s3) Send(ctx context.Context, events []Event) Result {
	var lines []byte
	for i := range events {
		lines = append(append(lines, jsonBody(&events[i])...), '\n')
	}
	a, f := s.put(ctx, s.object(&events[0], sha256.Sum256(lines)), s3Encoder.EncodeAll(lines, nil))
	r := Result{Status: a.Status, Response: s.response(a)}
	if f != nil {
		f.Kind = Again // whatever was wrong, it was not the events: S3 does not look at them
		r.Failed = All(len(events), f).Failed
	}
	return r
}

// object is where a batch is stored: names sort by the time of the first event.
func (s *s3) object(first *Event, content [sha256.Size]byte) *url.URL {
	u := *s.url
	name := first.Time.UTC().Format("2006/01/02/150405.000") + "-" + first.ID + "-" + hex.EncodeToString(content[:8]) + ".ndjson.zst"
	u.Path = path.Join("/", u.Path, s.bucket, s.prefix, name)
	u.RawPath = httpbinding.EscapePath(u.Path, false)
	return &u
}

// put stores an object, with its checksum, which buckets that keep objects for a stated time demand.
func (s *s3) put(ctx context.Context, to *url.URL, body []byte) (outbound.Answer, *Failure) {
	sum := sha256.Sum256(body)
	r, err := http.NewRequest(http.MethodPut, to.String(), nil)
	if err != nil {
		return outbound.Answer{}, &Failure{Text: errURL.Error()}
	}
	maps.Copy(r.Header, s.header)
	r.Header.Set("Content-Type", "application/zstd")
	r.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
	r.Header.Set("X-Amz-Checksum-Sha256", base64.StdEncoding.EncodeToString(sum[:]))
	if err := s.signer.SignHTTP(ctx, s.credentials, r, hex.EncodeToString(sum[:]), "s3", s.region, time.Now()); err != nil {
		return outbound.Answer{}, &Failure{Text: s.url.Host + ": the request cannot be signed"}
	}
	return s.do(ctx, r, body)
}
