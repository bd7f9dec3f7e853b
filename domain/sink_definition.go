package domain

import (
	"fmt"
	"log/slog"
)

// A SinkDefinition is all of a sink that its operator writes and may read again. The validate tags
// are the bounds that commands hold it to; what a type has of it is in its entry of SinkTypes.
type SinkDefinition struct {
	Name       string       `json:"name" validate:"required,max=100,text"`
	Type       SinkType     `json:"type" validate:"required,sink_type"`
	URL        string       `json:"url,omitempty" validate:"max=2048"`                                    // of the receiver; its scheme depends on the type
	Format     SinkFormat   `json:"format,omitempty" validate:"omitempty,oneof=cloudevents ocsf ecs cef"` // "" to the command: the first of the type's
	EventTypes []string     `json:"event_types,omitempty" validate:"max=100,unique,dive,event_type"`      // none: all
	Uses       SinkUses     `json:"uses,omitzero"`
	Settings   SinkSettings `json:"settings,omitzero"`
}

// A SinkType is a kind of receiver.
type SinkType string

// The types of sinks. An organization may have the first seven; the others are the installation's
// alone.
const (
	SinkWebhook       SinkType = "webhook"
	SinkSplunkHEC     SinkType = "splunk_hec"
	SinkSyslog        SinkType = "syslog"
	SinkOTLP          SinkType = "otlp"
	SinkElasticsearch SinkType = "elasticsearch"
	SinkS3            SinkType = "s3"
	SinkStream        SinkType = "stream"
	SinkFile          SinkType = "file"
	SinkNATS          SinkType = "nats"
	SinkKafka         SinkType = "kafka"
)

// A SinkFormat is how an event is written for a receiver.
type SinkFormat string

// The formats.
const (
	FormatCloudEvents SinkFormat = "cloudevents"
	FormatOCSF        SinkFormat = "ocsf"
	FormatECS         SinkFormat = "ecs"
	FormatCEF         SinkFormat = "cef"
)

// SinkUses says which uses a sink forwards, and how. The zero value forwards each.
type SinkUses struct {
	Mode  string `json:"mode,omitempty" validate:"omitempty,oneof=each sampled summed none"`
	OneIn int    `json:"one_in,omitempty" validate:"min=0,max=1000000"` // sampled: one in so many of the VALID ones, and every other
}

// SinkSettings are the settings of all types; which of them a type has is in its entry of
// SinkTypes. Secrets are in SinkCredentials.
type SinkSettings struct {
	SignAsymmetric bool     `json:"sign_asymmetric,omitempty"`                                                   // webhook: v1a (Ed25519) beside v1
	Username       string   `json:"username,omitempty" validate:"max=200,text"`                                  // elasticsearch, nats, kafka
	PlainText      bool     `json:"plain_text,omitempty"`                                                        // kafka: without TLS, which goes to the networks of --sink-networks alone
	Index          string   `json:"index,omitempty" validate:"max=200,text"`                                     // splunk_hec, elasticsearch
	Source         string   `json:"source,omitempty" validate:"max=200,text"`                                    // splunk_hec
	SourceType     string   `json:"source_type,omitempty" validate:"max=200,text"`                               // splunk_hec
	Acknowledge    bool     `json:"acknowledge,omitempty"`                                                       // splunk_hec: wait for the indexer
	AppName        string   `json:"app_name,omitempty" validate:"max=48,printable"`                              // syslog
	EnterpriseID   int      `json:"enterprise_id,omitempty" validate:"min=0,max=4294967295"`                     // syslog: the private enterprise number of structured data
	CA             string   `json:"ca,omitempty" validate:"max=16384,body_text"`                                 // PEM: what the receiver's certificate is checked against
	Bucket         string   `json:"bucket,omitempty" validate:"max=63,printable"`                                // s3
	Prefix         string   `json:"prefix,omitempty" validate:"max=500,text"`                                    // s3: of the objects' names
	Region         string   `json:"region,omitempty" validate:"max=64,printable"`                                // s3
	AccessKeyID    string   `json:"access_key_id,omitempty" validate:"max=128,printable"`                        // s3
	Brokers        []string `json:"brokers,omitempty" validate:"max=20,unique,dive,max=260,printable"`           // kafka: host:port
	Topic          string   `json:"topic,omitempty" validate:"max=249,printable"`                                // kafka
	SASL           string   `json:"sasl,omitempty" validate:"omitempty,oneof=plain scram-sha-256 scram-sha-512"` // kafka: plain, scram-sha-256 or scram-sha-512
	Subject        string   `json:"subject,omitempty" validate:"max=255,printable"`                              // nats
	Path           string   `json:"path,omitempty" validate:"max=255,text"`                                      // file: below the directory of the service for such files
	MaxMegabytes   int      `json:"max_megabytes,omitempty" validate:"min=0,max=10240"`                          // file: when it is rotated
	MaxFiles       int      `json:"max_files,omitempty" validate:"min=0,max=1000"`                               // file: rotated ones that are kept
	MaxAgeHours    int      `json:"max_age_hours,omitempty" validate:"min=0,max=8760"`                           // stream: how long it keeps what its subscribers have not read
}

// SinkCredentials are the secrets of a sink. They are kept sealed and are never shown, but for the
// signing secret, once.
type SinkCredentials struct {
	Signing           []SigningSecret   `json:"signing,omitempty" validate:"-"`                                                                       // webhook: the newest first
	Token             string            `json:"token,omitempty" validate:"max=4096,printable"`                                                        // splunk_hec; elasticsearch: an API key; nats
	Password          string            `json:"password,omitempty" validate:"max=1000,text"`                                                          // elasticsearch, nats, kafka
	SecretAccessKey   string            `json:"secret_access_key,omitempty" validate:"max=200,printable"`                                             // s3
	ClientCertificate string            `json:"client_certificate,omitempty" validate:"max=16384,body_text"`                                          // PEM; syslog, and others over TLS
	ClientKey         string            `json:"client_key,omitempty" validate:"max=16384,body_text"`                                                  // PEM
	Headers           map[string]string `json:"headers,omitempty" validate:"max=10,dive,keys,min=1,max=64,sink_header,endkeys,max=4096,header_value"` // of requests: webhook, otlp
}

// Format makes every fmt verb print [credentials].
func (SinkCredentials) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[credentials]")) }

// LogValue is what a log has of them.
func (SinkCredentials) LogValue() slog.Value { return slog.StringValue("[credentials]") }
