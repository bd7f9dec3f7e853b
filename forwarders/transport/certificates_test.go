package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"
)

// An authority is one that signs certificates.
type authority struct {
	pool *x509.CertPool
	pem  string
}

// A pair is a certificate and its key in PEM.
type pair struct{ certificate, key string }

// testCertificates are an authority, a certificate of its for 127.0.0.1, and one for a client.
func testCertificates(t *testing.T) (ca authority, server tls.Certificate, client pair) {
	t.Helper()
	caKey, der := certify(t, &x509.Certificate{Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	ca = authority{x509.NewCertPool(), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
	ca.pool.AddCert(root)
	pairs := make([]pair, 2)
	for i := range pairs {
		key, der := certify(t, &x509.Certificate{Subject: pkix.Name{CommonName: "keytrail"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, root, caKey)
		text, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		pairs[i] = pair{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}))}
	}
	if server, err = tls.X509KeyPair([]byte(pairs[0].certificate), []byte(pairs[0].key)); err != nil {
		t.Fatal(err)
	}
	return ca, server, pairs[1]
}

// certify makes a certificate that parent signs, or it itself.
func certify(t *testing.T, c, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(time.Hour)
	if parent == nil {
		parent, parentKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	return key, der
}
