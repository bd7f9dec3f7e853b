package domain

// A SinkDefinition is all of a sink that its operator writes and may read again.
type SinkDefinition struct {
	Name       string       `json:"name" validate:"required,max=100,name_text"`
	Type       SinkType     `json:"type" validate:"required"`
	URL        string       `json:"url,omitempty" validate:"max=2048"` // of the receiver; its scheme depends on the type
	Format     SinkFormat   `json:"format,omitempty"`                  // "": SinkType.DefaultFormat
	EventTypes []string     `json:"event_types,omitempty" validate:"max=50"`
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
	SignAsymmetric bool     `json:"sign_asymmetric,omitempty"` // webhook: v1a (Ed25519) beside v1
	Username       string   `json:"username,omitempty"`        // elasticsearch, nats, kafka
	Index          string   `json:"index,omitempty"`           // splunk_hec, elasticsearch
	Source         string   `json:"source,omitempty"`          // splunk_hec
	SourceType     string   `json:"source_type,omitempty"`     // splunk_hec
	Acknowledge    bool     `json:"acknowledge,omitempty"`     // splunk_hec: wait for the indexer
	AppName        string   `json:"app_name,omitempty"`        // syslog
	EnterpriseID   int      `json:"enterprise_id,omitempty"`   // syslog: the private enterprise number of structured data
	CA             string   `json:"ca,omitempty"`              // PEM: what the receiver's certificate is checked against
	Bucket         string   `json:"bucket,omitempty"`          // s3
	Prefix         string   `json:"prefix,omitempty"`          // s3: of the objects' names
	Region         string   `json:"region,omitempty"`          // s3
	AccessKeyID    string   `json:"access_key_id,omitempty"`   // s3
	Brokers        []string `json:"brokers,omitempty"`         // kafka: host:port
	Topic          string   `json:"topic,omitempty"`           // kafka
	SASL           string   `json:"sasl,omitempty"`            // kafka: plain, scram-sha-256 or scram-sha-512
	Subject        string   `json:"subject,omitempty"`         // nats
	Path           string   `json:"path,omitempty"`            // file
	MaxMegabytes   int      `json:"max_megabytes,omitempty"`   // file: when it is rotated
	MaxFiles       int      `json:"max_files,omitempty"`       // file: rotated ones that are kept
	MaxAgeHours    int      `json:"max_age_hours,omitempty"`   // stream: how long it keeps what its subscribers have not read
}

// SinkCredentials are the secrets of a sink. They are kept sealed and are never shown, but for the
// signing secret, once.
type SinkCredentials struct {
	Signing           []SigningSecret   `json:"signing,omitempty"`            // webhook: the newest first
	Token             string            `json:"token,omitempty"`              // splunk_hec; elasticsearch: an API key; nats
	Password          string            `json:"password,omitempty"`           // elasticsearch, nats, kafka
	SecretAccessKey   string            `json:"secret_access_key,omitempty"`  // s3
	ClientCertificate string            `json:"client_certificate,omitempty"` // PEM; syslog, and others over TLS
	ClientKey         string            `json:"client_key,omitempty"`         // PEM
	Headers           map[string]string `json:"headers,omitempty"`            // of requests: webhook, otlp
}

// A SigningSecret signs webhooks (Standard Webhooks 1.0.0).
type SigningSecret struct {
	Secret     []byte `json:"secret"`                // 32 bytes: the key of v1, and the seed of v1a
	ValidUntil int64  `json:"valid_until,omitempty"` // milliseconds since the Unix epoch, after a rotation; 0: it is the newest
}
