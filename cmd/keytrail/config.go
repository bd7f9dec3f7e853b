package main

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/audit/witness"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/forwarders/outbound"
	"github.com/keytrail/keytrail/internal/githubscan"
	"github.com/keytrail/keytrail/verify"
)

// A Config is all settings of the service. Each is a flag, and an environment variable:
// --nats-url is KEYTRAIL_NATS_URL. With none of them it is a durable service on one machine.
type Config struct {
	Data             string
	RootKeyFile      string
	Keyring          string
	Listen           string
	ExtAuthzListen   string
	NATSListen       string
	NATSListenCert   string
	NATSListenKey    string
	MinFree          uint64
	Durability       string
	RefusalsRecorded int
	UsesBufferBytes  int
	CacheBytes       uint64
	NATS             eventstore.ConnectOptions
	NATSMonitors     []string
	Replicas         int
	Node             string
	UsesMaxAge       time.Duration
	GitHubKeys       string
	TokenIssuer      string
	TrailOrigin      string
	WitnessPolicy    string
	UsesMaxBytes     int64
	TrustedProxies   []string
	Forward          bool
	SinkNetworks     []string
	SinkFiles        string
	PublicURL        string
	SSONetworks      []string
	Limits           api.Limits
	Connections      connectionLimits
	ReadTimeout      time.Duration
	TLSCert          string
	TLSKey           string
	PlainHTTP        bool
	AccessLog        bool
	LogFormat        string
	LogLevel         string
	OTLPEndpoint     string
	PprofListen      string
}

func (c *Config) flags(f *pflag.FlagSet) {
	c.ledgerFlags(f)
	f.StringSliceVar(&c.NATSMonitors, "nats-monitor-url", nil, "monitoring of each NATS server, like http://localhost:8222, to ask whether it syncs each message to disk; separated by commas")
	f.StringVar(&c.Listen, "listen", "127.0.0.1:8080", "address to serve HTTP on; port 0 takes a free one")
	f.StringVar(&c.ExtAuthzListen, "ext-authz-listen", "", "address to serve Envoy's external authorization over gRPC on, such as 127.0.0.1:9191; over TLS where HTTPS is served; default: it is not served")
	f.StringVar(&c.NATSListen, "nats-listen", "", "address to let NATS subscribers read streams of the embedded server at, such as 0.0.0.0:4222; their password is a key with the scope audit:read; default: nobody may")
	f.StringVar(&c.NATSListenCert, "nats-listen-cert", "", "file with the certificate, and its chain, for NATS subscribers; default --tls-cert")
	f.StringVar(&c.NATSListenKey, "nats-listen-key", "", "file with that certificate's key")
	f.StringVar(&c.TLSCert, "tls-cert", "", "file with the certificate, and its chain, to serve HTTPS with; read again when it changes")
	f.StringVar(&c.TLSKey, "tls-key", "", "file with the certificate's key")
	f.BoolVar(&c.PlainHTTP, "plain-http", false, "serve plain HTTP on an address that other machines reach: behind a proxy that speaks TLS, or in a container")
	f.Uint64Var(&c.MinFree, "min-free", 256<<20, "record nothing while the data directory's file system has fewer bytes free; 0: do not look")
	f.StringVar(&c.Node, "node", hostname(), "name of this machine in the uses that it records; default its host name")
	f.StringVar(&c.Durability, "uses", "durable", "answer a verification when its use is on disk (durable) or at once (relaxed)")
	f.IntVar(&c.UsesBufferBytes, "uses-buffer-bytes", 128<<20, "memory for uses that wait for the ledger; when it is full, verifications are answered 503")
	f.IntVar(&c.RefusalsRecorded, "refusals-recorded", 60, "refusals that are recorded one by one where the refused key is the only credential, for each key, outcome and minute; further ones are summed up")
	f.Uint64Var(&c.CacheBytes, "cache-bytes", 256<<20, "memory for keys that are verified without asking the disk, about 250 bytes each")
	f.StringVar(&c.GitHubKeys, "github-keys", "", "take leak reports of GitHub's secret scanning, checked with the keys at this URL, https://api.github.com/meta/public_keys/secret_scanning, or in this file")
	f.StringVar(&c.TokenIssuer, "token-issuer", "", "what derived tokens name as their issuer, like https://keys.example.com; default urn:keytrail: and the id of the key that signs them")
	f.StringVar(&c.WitnessPolicy, "witness-policy", "", "file that names witnesses, their keys and their URLs (C2SP tlog-policy), which are asked to sign each checkpoint")
	f.StringVar(&c.TrailOrigin, "trail-origin", "", "what the checkpoints of the trail's Merkle logs name as their log, like keys.example.com; taken when logs begin; default keytrail/ and the keyring's fingerprint")
	f.DurationVar(&c.UsesMaxAge, "uses-max-age", 400*24*time.Hour, "how long uses are kept")
	f.Int64Var(&c.UsesMaxBytes, "uses-max-bytes", 0, "how many bytes of uses are kept at most; 0: no limit")
	f.StringSliceVar(&c.TrustedProxies, "trusted-proxies", nil, "networks whose X-Forwarded-For is believed, separated by commas")
	f.BoolVar(&c.Forward, "forward", true, "take part in forwarding to sinks: of the processes of a cluster that do, one forwards at a time")
	f.StringVar(&c.SinkFiles, "sink-files", "", "directory that sinks of the type file write below; default: there are none")
	f.StringSliceVar(&c.SinkNetworks, "sink-networks", nil, "networks that sinks may reach though they are private, like 10.1.0.0/16, and without TLS; separated by commas")
	f.StringVar(&c.PublicURL, "public-url", "", "where browsers reach this service, like https://keys.example.com: providers of single sign-on send them back there; default: there is no single sign-on")
	f.StringSliceVar(&c.SSONetworks, "sso-networks", nil, "networks in which providers of single sign-on may be though they are private, like 10.1.0.0/16, and without TLS; separated by commas")
	f.IntVar(&c.Limits.InFlight, "max-in-flight", 4096, "requests carried out at once; more are answered 503")
	f.IntVar(&c.Limits.InFlightPerAddress, "max-in-flight-per-address", 0, "of them, from one client address; more are answered 429; 0: half of --max-in-flight")
	f.IntVar(&c.Limits.Streams, "max-streams", 1024, "event streams and long polls at once; more are answered 503")
	f.IntVar(&c.Limits.StreamsPerKey, "max-streams-per-key", 64, "of them, with one key; more are answered 429")
	f.IntVar(&c.Connections.all, "max-connections", 16384, "open connections; more are closed at once; less if the process may open fewer files")
	f.IntVar(&c.Connections.perAddress, "max-connections-per-address", 0, "of them, from one address that is no trusted proxy; 0: half of --max-connections")
	f.DurationVar(&c.ReadTimeout, "read-timeout", 10*time.Second, "how long a request may take to arrive; an import's lines may take two minutes")
	f.DurationVar(&c.Limits.WriteTimeout, "write-timeout", 10*time.Second, "how long a client may take to receive an answer, or each piece of an event stream")
	f.StringVar(&c.LogFormat, "log-format", "text", "text or json")
	f.StringVar(&c.LogLevel, "log-level", "info", "debug, info, warn or error")
	f.BoolVar(&c.AccessLog, "access-log", false, "log each request: route, status, time, client, key and trace ids; no path, query or secret")
	f.StringVar(&c.OTLPEndpoint, "otlp-endpoint", os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT"), "send traces to this OTLP/HTTP endpoint, like http://localhost:4318; default OTEL_EXPORTER_OTLP_ENDPOINT")
	f.StringVar(&c.PprofListen, "pprof-listen", "", "serve profiles on this address; do not expose it")
}

// ledgerFlags say where the ledger is: serve has them, and what works on a ledger that is
// not served.
func (c *Config) ledgerFlags(f *pflag.FlagSet) {
	f.StringVar(&c.Data, "data", "./keytrail-data", "directory for the ledger, the read model and the root key")
	f.StringVar(&c.RootKeyFile, "root-key-file", "", "where the root key's secret is written; all processes of a cluster can name one; default root.key in --data")
	f.StringVar(&c.Keyring, "keyring", "", "file with the installation's secret, which all processes of a cluster need; made at the first start; default keyring in --data")
	f.StringVar(&c.NATS.URL, "nats-url", "", "use this NATS server or cluster instead of the embedded one")
	f.StringVar(&c.NATS.CredsFile, "nats-creds", "", "file with the NATS user's credentials")
	f.StringVar(&c.NATS.CAFile, "nats-ca", "", "file with the CA that NATS servers are checked against")
	f.StringVar(&c.NATS.CertFile, "nats-cert", "", "file with the client certificate for NATS")
	f.StringVar(&c.NATS.KeyFile, "nats-key", "", "file with the client certificate's key")
	f.IntVar(&c.Replicas, "replicas", 1, "replicas of the streams, when they are created on a cluster")
}

// hostname is "" where the system has none to tell.
func hostname() string {
	name, _ := os.Hostname()
	return name
}

// maxNode bounds the name of a node, which is in each message of uses: that of a host.
const maxNode = 253

// checkNode refuses a name that cannot be told in a log line.
func (c *Config) checkNode() error {
	if len(c.Node) > maxNode || strings.ContainsFunc(c.Node, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("--node: must be printable ASCII without spaces, at most %d characters", maxNode)
	}
	return nil
}

func (c *Config) rootKeyFile() string {
	return cmp.Or(c.RootKeyFile, filepath.Join(c.Data, "root.key"))
}

// restoringFile is there while the ledger in the data directory is being restored.
func (c *Config) restoringFile() string { return filepath.Join(c.Data, "RESTORING") }

// isRestored refuses a directory whose restoration was cut off.
func (c *Config) isRestored() error {
	_, err := os.Stat(c.restoringFile())
	if err == nil {
		return eventstore.ErrRestoreIncomplete
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func (c *Config) keyringFile() string { return cmp.Or(c.Keyring, filepath.Join(c.Data, "keyring")) }

// clientVariables are the environment variables of the commands that call a service.
var clientVariables = []string{"KEYTRAIL_URL", "KEYTRAIL_KEY", "KEYTRAIL_KEY_FILE", "KEYTRAIL_CA"}

func variable(flag string) string {
	return "KEYTRAIL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// environment sets the flags that were not given from their variables, and refuses a
// KEYTRAIL_ variable that is no setting: a misspelt one would go unnoticed.
func environment(cmd *cobra.Command, environ []string) error {
	known := slices.Clone(clientVariables)
	var failure error
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		name := variable(f.Name)
		known = append(known, name)
		if value, ok := os.LookupEnv(name); ok && !f.Changed {
			if err := cmd.Flags().Set(f.Name, value); err != nil && failure == nil {
				failure = fmt.Errorf("%s: %w", name, err)
			}
		}
	})
	for _, e := range environ {
		name, _, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, "KEYTRAIL_") && !slices.Contains(known, name) && !setByKubernetes(name) && failure == nil {
			failure = fmt.Errorf("%s is no setting; see keytrail serve --help", name)
		}
	}
	return failure
}

// setByKubernetes reports whether Kubernetes sets the variable for a Service named keytrail.
func setByKubernetes(name string) bool {
	return name == "KEYTRAIL_PORT" || strings.HasPrefix(name, "KEYTRAIL_PORT_") || strings.HasPrefix(name, "KEYTRAIL_SERVICE_")
}

// A parsedConfig has the settings that are more than a value, as they are used.
type parsedConfig struct {
	log          *slog.Logger
	verification verify.Options
	proxies      []netip.Prefix
	outbound     outbound.Policy
	sso          outbound.Policy
	github       *githubscan.Keys // nil: its reports are not taken
	tls          *tls.Config      // nil: plain HTTP
	natsTLS      *tls.Config      // of NATS subscribers; nil: none
	witnesses    []*witness.Client
}

// parse refuses settings before anything is started.
func (c *Config) parse(errs io.Writer) (s parsedConfig, err error) {
	if s.log, err = c.logger(errs); err != nil {
		return s, err
	}
	if s.verification, err = c.verifyOptions(); err != nil {
		return s, err
	}
	if err := c.checkNode(); err != nil {
		return s, err
	}
	if s.witnesses, err = c.readWitnesses(); err != nil {
		return s, err
	}
	if err := c.checkTrailOrigin(); err != nil {
		return s, err
	}
	if s.proxies, err = networks("--trusted-proxies", c.TrustedProxies); err != nil {
		return s, err
	}
	if s.outbound.Networks, err = networks("--sink-networks", c.SinkNetworks); err != nil {
		return s, err
	}
	s.sso.Setting = "--sso-networks"
	if s.sso.Networks, err = networks("--sso-networks", c.SSONetworks); err != nil {
		return s, err
	}
	if err := c.checkPublicURL(); err != nil {
		return s, err
	}
	if c.GitHubKeys != "" {
		if s.github, err = githubscan.New(c.GitHubKeys); err != nil {
			return s, fmt.Errorf("--github-keys: %w", err)
		}
	}
	if s.tls, err = c.tlsConfig(s.log); err != nil {
		return s, err
	}
	s.natsTLS, err = c.natsTLSConfig(s.tls, s.log)
	return s, err
}

// verifyOptions are how verifications are recorded.
func (c *Config) verifyOptions() (o verify.Options, err error) {
	switch o.Durability, err = verify.ParseDurability(c.Durability); {
	case err != nil:
		return o, fmt.Errorf("--uses: %w", err)
	case c.RefusalsRecorded < 1:
		return o, errors.New("--refusals-recorded: must be at least 1")
	case c.UsesBufferBytes < 1<<20:
		return o, errors.New("--uses-buffer-bytes: must be at least 1048576")
	}
	o.RefusalsRecorded, o.BufferBytes = c.RefusalsRecorded, c.UsesBufferBytes
	return o, nil
}

// networks are the values of flag.
func networks(flag string, texts []string) (all []netip.Prefix, err error) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is not a network like 10.0.0.0/8", flag, text)
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

func (c *Config) logger(to io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return nil, fmt.Errorf("--log-level: %q is not debug, info, warn or error", c.LogLevel)
	}
	return newLogger(to, c.LogFormat, level)
}

// accessLogger is nil where requests are not logged. It does not depend on the log's level.
func (c *Config) accessLogger(to io.Writer) *slog.Logger {
	if !c.AccessLog {
		return nil
	}
	log, _ := newLogger(to, c.LogFormat, slog.LevelInfo) // logger has checked the format
	return log
}

func newLogger(to io.Writer, format string, level slog.Level) (*slog.Logger, error) {
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: level})), nil
	case "json":
		return slog.New(slog.NewJSONHandler(to, &slog.HandlerOptions{Level: level})), nil
	}
	return nil, fmt.Errorf("--log-format: %q is not text or json", format)
}
