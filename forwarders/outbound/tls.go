package outbound

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
)

// Certificates are what a sink has of its own for TLS, in PEM.
type Certificates struct {
	CA         string // that the receiver's certificate is checked against; "": the system's
	Client     string // certificate; "": none
	ClientKey  string
	ServerName string // that the certificate must be for; "": the host that is dialled
}

// The faults of certificates. They have nothing of what is wrong: it may be a part of a private key.
var (
	errCA     = errors.New("ca: no certificate in PEM")
	errClient = errors.New("client_certificate, client_key: no certificate in PEM with its key")
)

// TLS is the configuration of a connection to a receiver.
func (c Certificates) TLS() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CA != "" {
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM([]byte(c.CA)) {
			return nil, errCA
		}
	}
	if c.Client != "" || c.ClientKey != "" {
		pair, err := tls.X509KeyPair([]byte(c.Client), []byte(c.ClientKey))
		if err != nil {
			return nil, errClient
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}
