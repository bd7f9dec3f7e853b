package domain

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// fitting are a definition and credentials that the type can have.
func fitting(t SinkTypeEntry) (SinkDefinition, SinkCredentials) {
	d := SinkDefinition{Name: "s", Type: t.Type, Format: t.Formats[0]}
	if len(t.Schemes) > 0 {
		d.URL = t.Schemes[0] + "://siem.example.com:443"
	}
	var c SinkCredentials
	for _, name := range t.Needs {
		switch name {
		case "token":
			c.Token = "t"
		case "index":
			d.Settings.Index = "keytrail"
		case "bucket":
			d.Settings.Bucket = "logs"
		case "access_key_id":
			d.Settings.AccessKeyID = "a"
		case "secret_access_key":
			c.SecretAccessKey = "s"
		case "path":
			d.Settings.Path = "trail.ndjson"
		case "subject":
			d.Settings.Subject = "keytrail"
		case "brokers":
			d.Settings.Brokers = []string{"kafka.example.com:9093"}
		case "topic":
			d.Settings.Topic = "keytrail"
		}
	}
	return d, c
}

func TestEachTypeOfSinkCanBeHad(t *testing.T) {
	for _, e := range SinkTypes {
		d, c := fitting(e)
		if err := d.Check(&c); err != nil {
			t.Errorf("%s: %v", e.Type, err)
		}
		for _, f := range everyFormat {
			d.Format = f
			if err := d.Check(&c); (err == nil) != slices.Contains(e.Formats, f) {
				t.Errorf("%s with %s: %v", e.Type, f, err)
			}
		}
	}
	if SinkType("none").DefaultFormat() != "" || SinkSyslog.DefaultFormat() != FormatCEF {
		t.Error("default formats")
	}
}

// TestSinkTypesNameFields: a name in the table is one of a field, and each field is of some type.
func TestSinkTypesNameFields(t *testing.T) {
	used := map[string]bool{}
	for _, e := range SinkTypes {
		for _, name := range slices.Concat(e.Settings, e.Credentials) {
			used[name] = true
		}
		for _, name := range e.Needs {
			if !slices.Contains(e.Settings, name) && !slices.Contains(e.Credentials, name) {
				t.Errorf("%s needs %s and does not have it", e.Type, name)
			}
		}
	}
	fields := append(fieldNames(SinkSettings{}), fieldNames(SinkCredentials{})...)
	for _, name := range fields {
		if name != "signing" && !used[name] {
			t.Errorf("no type has %s", name)
		}
		delete(used, name)
	}
	if len(used) > 0 {
		t.Errorf("no fields: %v", used)
	}
}

func TestWhatSinksCannotHave(t *testing.T) {
	entry := func(t SinkType) (SinkDefinition, SinkCredentials) { return fitting(t.entry()) }
	for name, c := range map[string]struct {
		of    SinkType
		with  func(*SinkDefinition, *SinkCredentials)
		field string
	}{
		"no URL":                       {SinkWebhook, func(d *SinkDefinition, _ *SinkCredentials) { d.URL = "" }, "url"},
		"another scheme":               {SinkWebhook, func(d *SinkDefinition, _ *SinkCredentials) { d.URL = "ftp://a.example.com" }, "url"},
		"no host":                      {SinkWebhook, func(d *SinkDefinition, _ *SinkCredentials) { d.URL = "https:///in" }, "url"},
		"a port alone":                 {SinkWebhook, func(d *SinkDefinition, _ *SinkCredentials) { d.URL = "https://:443" }, "url"},
		"opaque":                       {SinkWebhook, func(d *SinkDefinition, _ *SinkCredentials) { d.URL = "https:a.example.com" }, "url"},
		"a space":                      {SinkWebhook, func(d *SinkDefinition, _ *SinkCredentials) { d.URL = "https://a.example.com/ b" }, "url"},
		"a name in Unicode":            {SinkWebhook, func(d *SinkDefinition, _ *SinkCredentials) { d.URL = "https://bücher.example" }, "url"},
		"credentials in the URL":       {SinkWebhook, func(d *SinkDefinition, _ *SinkCredentials) { d.URL = "https://ann:pw@a.example.com" }, "url"},
		"a user in the URL":            {SinkWebhook, func(d *SinkDefinition, _ *SinkCredentials) { d.URL = "https://ann@a.example.com" }, "url"},
		"a fragment":                   {SinkWebhook, func(d *SinkDefinition, _ *SinkCredentials) { d.URL = "https://a.example.com/#a" }, "url"},
		"port 0":                       {SinkWebhook, func(d *SinkDefinition, _ *SinkCredentials) { d.URL = "https://a.example.com:0" }, "url"},
		"port 65536":                   {SinkWebhook, func(d *SinkDefinition, _ *SinkCredentials) { d.URL = "https://a.example.com:65536" }, "url"},
		"a path of a syslog":           {SinkSyslog, func(d *SinkDefinition, _ *SinkCredentials) { d.URL += "/in" }, "url"},
		"a URL of a stream":            {SinkStream, func(d *SinkDefinition, _ *SinkCredentials) { d.URL = "https://a.example.com" }, "url"},
		"a setting of another type":    {SinkWebhook, func(d *SinkDefinition, _ *SinkCredentials) { d.Settings.Bucket = "logs" }, "settings.bucket"},
		"a credential of another type": {SinkWebhook, func(_ *SinkDefinition, c *SinkCredentials) { c.Token = "t" }, "settings.token"},
		"no token":                     {SinkSplunkHEC, func(_ *SinkDefinition, c *SinkCredentials) { c.Token = "" }, "settings.token"},
		"one in so many of each":       {SinkWebhook, func(d *SinkDefinition, _ *SinkCredentials) { d.Uses = SinkUses{"each", 10} }, "uses.one_in"},
		"sampled without a rate":       {SinkWebhook, func(d *SinkDefinition, _ *SinkCredentials) { d.Uses = SinkUses{"sampled", 0} }, "uses.one_in"},
		"a CA that is none":            {SinkWebhook, func(d *SinkDefinition, _ *SinkCredentials) { d.Settings.CA = "-----BEGIN" }, "settings.ca"},
		"a user name without password": {SinkElasticsearch, func(d *SinkDefinition, _ *SinkCredentials) { d.Settings.Username = "ann" }, "settings.password"},
		"a password without user name": {SinkElasticsearch, func(_ *SinkDefinition, c *SinkCredentials) { c.Password = "pw" }, "settings.password"},
		"a token beside a password": {SinkElasticsearch, func(d *SinkDefinition, c *SinkCredentials) {
			d.Settings.Username, c.Password, c.Token = "ann", "pw", "t"
		}, "settings.token"},
		"an index with spaces":          {SinkElasticsearch, func(d *SinkDefinition, _ *SinkCredentials) { d.Settings.Index = "a b" }, "settings.index"},
		"an index that is a path":       {SinkElasticsearch, func(d *SinkDefinition, _ *SinkCredentials) { d.Settings.Index = "a/_doc" }, "settings.index"},
		"a bucket that is a path":       {SinkS3, func(d *SinkDefinition, _ *SinkCredentials) { d.Settings.Bucket = "a/b" }, "settings.bucket"},
		"a prefix that climbs":          {SinkS3, func(d *SinkDefinition, _ *SinkCredentials) { d.Settings.Prefix = "../a" }, "settings.prefix"},
		"a path that climbs":            {SinkFile, func(d *SinkDefinition, _ *SinkCredentials) { d.Settings.Path = "../root.key" }, "settings.path"},
		"an absolute path":              {SinkFile, func(d *SinkDefinition, _ *SinkCredentials) { d.Settings.Path = "/etc/passwd" }, "settings.path"},
		"a path of Windows":             {SinkFile, func(d *SinkDefinition, _ *SinkCredentials) { d.Settings.Path = `C:\a` }, "settings.path"},
		"all subjects":                  {SinkNATS, func(d *SinkDefinition, _ *SinkCredentials) { d.Settings.Subject = "a.>" }, "settings.subject"},
		"a broker without port":         {SinkKafka, func(d *SinkDefinition, _ *SinkCredentials) { d.Settings.Brokers = []string{"kafka"} }, "settings.brokers[0]"},
		"a topic with a slash":          {SinkKafka, func(d *SinkDefinition, _ *SinkCredentials) { d.Settings.Topic = "a/b" }, "settings.topic"},
		"SASL without a user":           {SinkKafka, func(d *SinkDefinition, _ *SinkCredentials) { d.Settings.SASL = "plain" }, "settings.sasl"},
		"a certificate without its key": {SinkSyslog, func(_ *SinkDefinition, c *SinkCredentials) { c.ClientCertificate = "x" }, "settings.client_certificate"},
		"credentials that are too long": {SinkWebhook, func(_ *SinkDefinition, c *SinkCredentials) {
			c.Headers = map[string]string{"Authorization": strings.Repeat("a", maxSinkCredentials)}
		}, "settings"},
	} {
		d, credentials := entry(c.of)
		c.with(&d, &credentials)
		var refusal *Error
		if err := d.Check(&credentials); !errors.As(err, &refusal) || refusal.Field != c.field {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnotherReceiver(t *testing.T) {
	d := hook
	for url, same := range map[string]bool{"https://siem.example.com/out": false, "https://siem.example.com/in?a=b": false, "https://SIEM.example.com/in": true, "http://siem.example.com/in": false, "https://siem.example.com:8443/in": false, "https://evil.example.com/in": false} {
		if d.URL = url; d.SameReceiver(&hook) != same {
			t.Errorf("%s: the same receiver is %v", url, !same)
		}
	}
}
