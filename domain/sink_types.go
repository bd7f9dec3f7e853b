package domain

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"net"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A SinkTypeEntry is what sinks of a type have. Settings and credentials are named as in JSON.
type SinkTypeEntry struct {
	Type         SinkType
	Installation bool         // it is the installation's alone
	Schemes      []string     // of its URL; none: it has no URL
	Formats      []SinkFormat // the first is the default
	Settings     []string     // that it may have
	Credentials  []string     // that it may have
	Needs        []string     // settings and credentials that it must have
}

var (
	everyFormat  = []SinkFormat{FormatCloudEvents, FormatOCSF, FormatECS, FormatCEF}
	jsonFormats  = []SinkFormat{FormatCloudEvents, FormatOCSF, FormatECS}
	httpSchemes  = []string{"https", "http"}
	overTLS      = []string{"client_certificate", "client_key"}
	withHeaders  = append([]string{"headers"}, overTLS...)
	withToken    = append([]string{"token"}, overTLS...)
	withPassword = append([]string{"token", "password"}, overTLS...)
)

// SinkTypes are all types of sinks.
var SinkTypes = []SinkTypeEntry{
	{Type: SinkWebhook, Schemes: httpSchemes, Formats: jsonFormats, Settings: []string{"sign_asymmetric", "ca"}, Credentials: withHeaders},
	{Type: SinkSplunkHEC, Schemes: httpSchemes, Formats: jsonFormats, Settings: []string{"index", "source", "source_type", "acknowledge", "ca"}, Credentials: withToken, Needs: []string{"token"}},
	{Type: SinkSyslog, Schemes: []string{"tls", "tcp"}, Formats: []SinkFormat{FormatCEF, FormatOCSF, FormatECS, FormatCloudEvents}, Settings: []string{"app_name", "enterprise_id", "ca"}, Credentials: overTLS},
	{Type: SinkOTLP, Schemes: httpSchemes, Formats: jsonFormats, Settings: []string{"ca"}, Credentials: withHeaders},
	{Type: SinkElasticsearch, Schemes: httpSchemes, Formats: []SinkFormat{FormatECS, FormatOCSF, FormatCloudEvents}, Settings: []string{"index", "username", "ca"}, Credentials: withPassword, Needs: []string{"index"}},
	{Type: SinkS3, Schemes: httpSchemes, Formats: jsonFormats, Settings: []string{"bucket", "prefix", "region", "access_key_id", "ca"}, Credentials: []string{"secret_access_key"}, Needs: []string{"bucket", "access_key_id", "secret_access_key"}},
	{Type: SinkStream, Formats: jsonFormats, Settings: []string{"max_age_hours"}},
	{Type: SinkFile, Installation: true, Formats: everyFormat, Settings: []string{"path", "max_megabytes", "max_files"}, Needs: []string{"path"}},
	{Type: SinkNATS, Installation: true, Schemes: []string{"tls", "nats"}, Formats: everyFormat, Settings: []string{"subject", "username", "ca"}, Credentials: withPassword, Needs: []string{"subject"}},
	{Type: SinkKafka, Installation: true, Formats: everyFormat, Settings: []string{"brokers", "topic", "sasl", "username", "plain_text", "ca"}, Credentials: append([]string{"password"}, overTLS...), Needs: []string{"brokers", "topic"}},
}

// SinkTypeNames are the names of all types.
func SinkTypeNames() (names []SinkType) {
	for _, t := range SinkTypes {
		names = append(names, t.Type)
	}
	return names
}

// entry is the type's; the zero entry if there is none.
func (t SinkType) entry() SinkTypeEntry {
	for _, e := range SinkTypes {
		if e.Type == t {
			return e
		}
	}
	return SinkTypeEntry{}
}

// DefaultFormat is the one of a sink that names none.
func (t SinkType) DefaultFormat() SinkFormat {
	formats := t.entry().Formats
	if len(formats) == 0 {
		return ""
	}
	return formats[0]
}

// maxSinkCredentials is how many bytes the credentials of a sink have at most as JSON.
const maxSinkCredentials = 24 << 10

// Check refuses what a sink of the type cannot have, and what it lacks. The tags of the fields tell the rest.
func (d *SinkDefinition) Check(c *SinkCredentials) error {
	t := d.Type.entry()
	if !slices.Contains(t.Formats, d.Format) {
		return InvalidField("format", "must be one of %s for a sink of the type %s", listed(t.Formats), d.Type)
	}
	if err := t.checkURL(d.URL); err != nil {
		return err
	}
	if err := t.checkFields(d.Settings, c); err != nil {
		return err
	}
	if (d.Uses.Mode == "sampled") != (d.Uses.OneIn != 0) {
		return InvalidField("uses.one_in", "goes with the mode sampled, which needs it")
	}
	if err := d.Settings.check(d.Type); err != nil {
		return err
	}
	return c.check(d)
}

// listed are the formats as a person lists them.
func listed(formats []SinkFormat) string {
	var names []string
	for _, f := range formats {
		names = append(names, string(f))
	}
	return strings.Join(names, ", ")
}

// mayBelongTo refuses an organization a sink of a type that is the installation's alone.
func (d *SinkDefinition) mayBelongTo(org OrgID) error {
	if d.Type.entry().Installation && org != Installation {
		return InvalidField("type", "an organization cannot have a sink of this type; it is the installation's alone")
	}
	return nil
}

// SameReceiver reports whether what is sent with d's credentials goes where it goes with e's.
func (d *SinkDefinition) SameReceiver(e *SinkDefinition) bool {
	return receiver(d.URL) == receiver(e.URL) && slices.Equal(d.Settings.Brokers, e.Settings.Brokers)
}

// Hosts are the receivers that the sink names, without ports.
func (d *SinkDefinition) Hosts() (hosts []string) {
	if u, err := url.Parse(d.URL); err == nil && u.Host != "" {
		hosts = append(hosts, u.Hostname())
	}
	for _, b := range d.Settings.Brokers {
		if host, _, err := net.SplitHostPort(b); err == nil {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// receiver is a URL with its host spelled in one way. Its path counts: a host may have receivers of
// many tenants.
func receiver(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return text
	}
	u.Host = strings.ToLower(u.Host)
	return u.String()
}

func (d SinkDefinition) equals(e SinkDefinition) bool {
	one, _ := json.Marshal(d) // texts and numbers alone
	other, _ := json.Marshal(e)
	return bytes.Equal(one, other)
}

func (t *SinkTypeEntry) checkURL(text string) error {
	if len(t.Schemes) == 0 {
		if text != "" {
			return InvalidField("url", "a sink of the type %s has none", t.Type)
		}
		return nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || !slices.Contains(t.Schemes, u.Scheme) || u.Hostname() == "" || u.Opaque != "" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return InvalidField("url", "must be an address like %s://siem.example.com, in ASCII", t.Schemes[0])
	case u.User != nil:
		return InvalidField("url", "must have no credentials in it: they would be shown; put them in settings")
	case u.Fragment != "":
		return InvalidField("url", "must have no fragment")
	case !slices.Contains(httpSchemes, u.Scheme) && (u.Path != "" && u.Path != "/" || u.RawQuery != ""):
		return InvalidField("url", "must be a scheme, a host and a port alone")
	case u.Port() != "" && !validPort(u.Port()):
		return InvalidField("url", "must have a port from 1 to 65535")
	}
	return nil
}

func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// checkFields refuses settings and credentials that the type does not have, and the lack of those that it needs.
func (t *SinkTypeEntry) checkFields(s SinkSettings, c *SinkCredentials) error {
	have := append(setFields(s), c.Names()...)
	for _, name := range have {
		if !slices.Contains(t.Settings, name) && !slices.Contains(t.Credentials, name) {
			return InvalidField("settings."+name, "a sink of the type %s does not have it", t.Type)
		}
	}
	for _, name := range t.Needs {
		if !slices.Contains(have, name) {
			return InvalidField("settings."+name, "a sink of the type %s needs it", t.Type)
		}
	}
	return nil
}

// setFields are the JSON names of the fields of a struct that are not zero.
func setFields(v any) (names []string) {
	value := reflect.ValueOf(v)
	for i, name := range fieldNames(v) {
		if !value.Field(i).IsZero() {
			names = append(names, name)
		}
	}
	return names
}

// fieldNames are the JSON names of the fields of a struct.
func fieldNames(v any) (names []string) {
	for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

var (
	sinkBucket  = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	sinkIndex   = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)
	sinkTopic   = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*$`)
	sinkSubject = regexp.MustCompile(`^[^.*>\s]+(\.[^.*>\s]+)*$`)
)

func (s *SinkSettings) check(t SinkType) error {
	switch {
	case s.CA != "" && !certificates(s.CA):
		return InvalidField("settings.ca", "must be certificates in PEM")
	case s.Bucket != "" && !sinkBucket.MatchString(s.Bucket):
		return InvalidField("settings.bucket", "must be the name of a bucket")
	case s.Prefix != "" && !fs.ValidPath(strings.TrimSuffix(s.Prefix, "/")):
		return InvalidField("settings.prefix", "must be like logs/keytrail, without a slash at its beginning, . or ..")
	case s.Index != "" && t == SinkElasticsearch && !sinkIndex.MatchString(s.Index):
		return InvalidField("settings.index", "must be the name of an index or a data stream")
	case s.Topic != "" && !sinkTopic.MatchString(s.Topic):
		return InvalidField("settings.topic", "must be letters, digits, '_', '-' and '.'")
	case s.Subject != "" && !sinkSubject.MatchString(s.Subject):
		return InvalidField("settings.subject", "must be a subject without wildcards")
	case s.Path != "" && (!fs.ValidPath(s.Path) || s.Path == "." || strings.ContainsAny(s.Path, `\:`)):
		return InvalidField("settings.path", "must be a relative path without . and .., below the directory of the service for such files")
	case (s.SASL == "") != (s.Username == "") && t == SinkKafka:
		return InvalidField("settings.sasl", "goes with username and password, which need it")
	}
	for i, b := range s.Brokers {
		if host, port, err := net.SplitHostPort(b); err != nil || host == "" || !validPort(port) {
			return InvalidField("settings.brokers["+itoa(i)+"]", "must be host:port")
		}
	}
	return nil
}

func certificates(text string) bool {
	n := 0
	for rest := []byte(text); ; n++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return n > 0 && len(bytes.TrimSpace(rest)) == 0
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil || block.Type != "CERTIFICATE" {
			return false
		}
	}
}

// Names are the JSON names of the credentials that c has, without the signing secrets, which are not given.
func (c *SinkCredentials) Names() []string {
	given := *c
	given.Signing = nil
	return setFields(given)
}

func (c *SinkCredentials) check(d *SinkDefinition) error {
	if (c.Password == "") != (d.Settings.Username == "") {
		return InvalidField("settings.password", "goes with username, which needs it")
	}
	if c.Token != "" && c.Password != "" {
		return InvalidField("settings.token", "must be left out beside username and password")
	}
	if c.ClientCertificate != "" || c.ClientKey != "" {
		if _, err := tls.X509KeyPair([]byte(c.ClientCertificate), []byte(c.ClientKey)); err != nil {
			return InvalidField("settings.client_certificate", "must be a certificate in PEM, and client_key its key")
		}
	}
	if text, _ := json.Marshal(c); len(text) > maxSinkCredentials {
		return InvalidField("settings", "the credentials may have at most %d bytes in all", maxSinkCredentials)
	}
	return nil
}
