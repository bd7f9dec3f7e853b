package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// tlsConfig is nil where plain HTTP is served.
func (c *Config) tlsConfig(log *slog.Logger) (*tls.Config, error) {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return nil, errors.New("--tls-cert and --tls-key go together")
	}
	if c.PprofListen != "" {
		if err := c.refusePlain("--pprof-listen", c.PprofListen); err != nil {
			return nil, err
		}
	}
	if c.TLSCert == "" {
		return nil, errors.Join(c.refusePlain("--listen", c.Listen), c.refusePlain("--ext-authz-listen", cmp.Or(c.ExtAuthzListen, "127.0.0.1:0")))
	}
	return serverTLS(c.TLSCert, c.TLSKey, log)
}

// serverTLS serves with a certificate that is read again when it changes.
func serverTLS(certFile, keyFile string, log *slog.Logger) (*tls.Config, error) {
	certificate, err := loadCertificate(certFile, keyFile, log)
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate.get}, nil
}

// refusePlain refuses to serve plain HTTP on an address that other machines reach, unless
// --plain-http allows it. "" is all addresses.
func (c *Config) refusePlain(flag, address string) error {
	if c.PlainHTTP || !public(address) {
		return nil
	}
	return fmt.Errorf("%s %q would let others reach plain HTTP, and keys travel in it: set --tls-cert and --tls-key, or --plain-http behind a proxy that speaks TLS", flag, address)
}

// public reports whether a listener on address can be reached from another machine.
func public(address string) bool {
	a, err := net.ResolveTCPAddr("tcp", address)
	return err != nil || !a.IP.IsLoopback()
}

// certificateCheck is how old a look at the certificate's files may be at a handshake.
const certificateCheck = time.Second

// A certificate is a pair of files, read again when one of them has changed.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	pair    *tls.Certificate
	files   [2]os.FileInfo // when pair, or what could not be taken, was read
	checked time.Time
}

func loadCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log, checked: time.Now()}
	var err error
	if c.files, err = c.stat(); err == nil {
		err = c.load()
	}
	return c, err
}

func (c *certificate) stat() (files [2]os.FileInfo, err error) {
	for i, name := range []string{c.certFile, c.keyFile} {
		if files[i], err = os.Stat(name); err != nil {
			return files, err
		}
	}
	return files, nil
}

func (c *certificate) load() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.pair = &pair
	return nil
}

// get gives the certificate for a handshake. A new pair that cannot be used, such as a
// certificate whose key has not been replaced yet, leaves the old one in use.
func (c *certificate) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if since := time.Since(c.checked); since < 0 || since >= certificateCheck {
		c.checked = time.Now()
		c.renew(hello.Context())
	}
	return c.pair, nil
}

func (c *certificate) renew(ctx context.Context) {
	files, err := c.stat()
	if err == nil && sameFile(files[0], c.files[0]) && sameFile(files[1], c.files[1]) {
		return
	}
	if err == nil {
		c.files = files
		err = c.load()
	}
	if err != nil {
		c.log.ErrorContext(ctx, "the new TLS certificate cannot be used; the old one stays", "cert", c.certFile, "err", err)
		return
	}
	c.log.InfoContext(ctx, "TLS certificate renewed", "cert", c.certFile, "until", c.pair.Leaf.NotAfter)
}

func sameFile(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// trusted are the system's authorities, and those in file.
func trusted(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // there are none on this system
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return pool, nil
}
