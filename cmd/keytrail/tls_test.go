package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An authority issues certificates for 127.0.0.1.
type authority struct {
	dir, file string
	cert      *x509.Certificate
	key       *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{dir: t.TempDir(), key: key}
	a.cert, _ = x509.ParseCertificate(der)
	a.file = a.write(t, "ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) write(t *testing.T, name, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path+".new", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	return path
}

// issue writes a certificate with that serial number, and its key, over the ones before.
func (a *authority) issue(t *testing.T, serial int64) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return a.write(t, "cert.pem", "CERTIFICATE", der), a.write(t, "key.pem", "PRIVATE KEY", private)
}

// serial is that of the certificate that a new connection is shown.
func (a *authority) serial(t *testing.T, url string) int64 {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	c, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{RootCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func TestTLSIsServedAndItsCertificateRenewed(t *testing.T) {
	t.Parallel() // it waits more than it computes
	a := newAuthority(t)
	cert, key := a.issue(t, 2)
	r := launch(t, t.TempDir(), "--tls-cert", cert, "--tls-key", key)
	if !strings.HasPrefix(r.url, "https://") {
		t.Fatalf("it is ready on %s", r.url)
	}
	with := environ("KEYTRAIL_URL="+r.url, "KEYTRAIL_KEY="+r.rootKey(t), "KEYTRAIL_CA="+a.file)
	expect(t, cli(t, "", with, "principal"), exitOK, "the whole installation")
	expect(t, cli(t, "", with, "health"), exitOK, "ready")
	expect(t, cli(t, "", environ("KEYTRAIL_URL="+r.url, "KEYTRAIL_KEY="+r.rootKey(t)), "principal"), exitUnreachable, "certificate")
	plain := strings.Replace(r.url, "https", "http", 1)
	if got := cli(t, "", environ("KEYTRAIL_URL="+plain, "KEYTRAIL_KEY="+r.rootKey(t)), "principal"); got.code == exitOK {
		t.Errorf("plain HTTP is served: %+v", got)
	}
	if _, err := tls.Dial("tcp", strings.TrimPrefix(r.url, "https://"), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is served")
	}

	a.issue(t, 3)
	until(t, "the new certificate is shown", func() bool { return a.serial(t, r.url) == 3 })
	// A certificate without its key, as between the two renames of a renewal.
	kept, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	a.issue(t, 4)
	next, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, "the pair that does not fit is noticed", func() bool {
		return a.serial(t, r.url) == 3 && strings.Contains(r.said.String(), "cannot be used; the old one stays")
	})
	if err := os.WriteFile(key, next, 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, "the pair is whole", func() bool { return a.serial(t, r.url) == 4 })
	if n := strings.Count(r.said.String(), "cannot be used"); n != 1 {
		t.Errorf("it was told %d times", n)
	}
}

func TestPlainHTTPForOthersMustBeAskedFor(t *testing.T) {
	for args, said := range map[string]string{
		"--listen 0.0.0.0:0": "--plain-http", "--listen 127.0.0.1:0 --ext-authz-listen :0": "--ext-authz-listen", "--listen :0": "--plain-http", "--listen=": "--plain-http", "--listen [::]:0": "--plain-http", "--pprof-listen 0.0.0.0:0": "--pprof-listen",
		"--tls-cert x": "go together", "--tls-cert x --tls-key y": "x",
	} {
		got := cli(t, "", environ(), append([]string{"serve", "--data", t.TempDir()}, strings.Fields(args)...)...)
		if got.code == exitOK || !strings.Contains(got.err, said) {
			t.Errorf("%s: %+v", args, got)
		}
	}
	r := begin(t, t.TempDir(), "--listen", fmt.Sprintf("0.0.0.0:%d", freePort(t)), "--plain-http")
	until(t, "it serves", func() bool { return strings.Contains(r.said.String(), "ready on") })
}
