package eventstore

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/nats-io/nats.go"
)

// ConnectOptions are the address of the external NATS server that holds the ledger, and the
// credentials for it. Every field but URL may be empty.
type ConnectOptions struct {
	URL       string // nats://… or tls://…, several separated by commas
	CredsFile string // user JWT and seed
	CAFile    string
	CertFile  string // client certificate, with KeyFile
	KeyFile   string
}

// Connect connects to an external server. Requests fail at once while there is no connection:
// what makes them tries again until its deadline.
func Connect(o ConnectOptions, log *slog.Logger) (*nats.Conn, error) {
	options := []nats.Option{
		nats.Name("keytrail"),
		// A connection that went dead is noticed after 3 to 4 s, by when appends through it fail
		// anyway; the default is 6 min.
		nats.PingInterval(time.Second), nats.MaxPingsOutstanding(2),
		// An append that waited in a buffer would be sent after its caller was told that it failed.
		nats.ReconnectBufSize(-1),
		// Another server is tried at once, and the same one again four times a second, for ever. The
		// jitter keeps many services from coming back in one moment.
		nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond), nats.ReconnectJitter(100*time.Millisecond, 250*time.Millisecond),
		// A frozen server accepts connections and sends nothing: the next one in the list is tried
		// soon.
		nats.Timeout(2 * time.Second), nats.FlusherTimeout(2 * time.Second),
		logged(log),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			log.WarnContext(context.Background(), "ledger connection lost", "err", err)
		}),
		nats.ReconnectHandler(func(c *nats.Conn) {
			log.InfoContext(context.Background(), "ledger connection restored", "server", c.ConnectedServerName())
		}),
	}
	if o.CredsFile != "" {
		options = append(options, nats.UserCredentials(o.CredsFile))
	}
	if o.CAFile != "" {
		options = append(options, nats.RootCAs(o.CAFile))
	}
	if o.CertFile != "" {
		options = append(options, nats.ClientCert(o.CertFile, o.KeyFile))
	}
	return nats.Connect(o.URL, options...)
}

// logged is the option that errors which belong to no call are logged: by default the client
// library prints them, which is no line of a structured log.
func logged(log *slog.Logger) nats.Option {
	return nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		log.WarnContext(context.Background(), "ledger connection", "err", err)
	})
}

// Away reports whether err, of Connect or Open, means that no server answers yet, or none
// that leads the streams; anything else will not pass by itself.
func Away(err error) bool {
	var failed *net.OpError
	return errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrNoResponders) ||
		errors.Is(err, context.DeadlineExceeded) || errors.As(err, &failed) && failed.Op == "dial"
}
