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

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

// must is for steps of a test's own preparation.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// certificates writes ca.pem, and server.pem and client.pem with their keys, to a directory.
func certificates(t *testing.T) (dir string) {
	dir = t.TempDir()
	caKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	write := func(name, kind string, der []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("ca.pem", "CERTIFICATE", must(x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)))
	for i, name := range []string{"server", "client"} {
		key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
		c := &x509.Certificate{SerialNumber: big.NewInt(int64(2 + i)), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
		write(name+".pem", "CERTIFICATE", must(x509.CreateCertificate(rand.Reader, c, ca, &key.PublicKey, caKey)))
		write(name+".key", "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)))
	}
	return dir
}

// guardedServer starts a NATS server that wants TLS with a client certificate, and a user of
// one of its operator's accounts, and writes that user's credentials to user.creds in dir.
func guardedServer(t *testing.T, dir string) (url string) {
	operator, account, system, user := must(nkeys.CreateOperator()), must(nkeys.CreateAccount()), must(nkeys.CreateAccount()), must(nkeys.CreateUser())
	claims := jwt.NewOperatorClaims(must(operator.PublicKey()))
	trusted := must(jwt.DecodeOperatorClaims(must(claims.Encode(operator))))
	resolver := &server.MemAccResolver{}
	for _, a := range []nkeys.KeyPair{account, system} {
		c := jwt.NewAccountClaims(must(a.PublicKey()))
		if a == account {
			c.Limits.JetStreamLimits = jwt.JetStreamLimits{DiskStorage: jwt.NoLimit, Streams: jwt.NoLimit, Consumer: jwt.NoLimit}
		}
		if err := resolver.Store(c.Subject, must(c.Encode(operator))); err != nil {
			t.Fatal(err)
		}
	}
	token := must(jwt.NewUserClaims(must(user.PublicKey())).Encode(account))
	creds := must(jwt.FormatUserConfig(token, must(user.Seed())))
	if err := os.WriteFile(filepath.Join(dir, "user.creds"), creds, 0o600); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(must(os.ReadFile(filepath.Join(dir, "ca.pem"))))
	own := must(tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")))
	o := &server.Options{Host: "127.0.0.1", Port: freePort(t), NoLog: true, NoSigs: true, JetStream: true, StoreDir: t.TempDir(), SyncAlways: true,
		TLSTimeout: 5, TLSConfig: &tls.Config{Certificates: []tls.Certificate{own}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert},
		TrustedOperators: []*jwt.OperatorClaims{trusted}, AccountResolver: resolver, SystemAccount: must(system.PublicKey())}
	s := must(server.NewServer(o))
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	until(t, "the server is up", func() bool { return s.ReadyForConnections(time.Second) })
	return fmt.Sprintf("tls://127.0.0.1:%d", o.Port)
}

func TestTheLedgerBehindTLSAndCredentials(t *testing.T) {
	dir := certificates(t)
	url := guardedServer(t, dir)
	settings := map[string]string{"--nats-url": url, "--nats-ca": filepath.Join(dir, "ca.pem"), "--nats-cert": filepath.Join(dir, "client.pem"),
		"--nats-key": filepath.Join(dir, "client.key"), "--nats-creds": filepath.Join(dir, "user.creds")}
	without := func(left ...string) (args []string) {
		for name, value := range settings {
			if !strings.Contains(strings.Join(left, " "), name) {
				args = append(args, name, value)
			}
		}
		return args
	}
	r := launch(t, t.TempDir(), without()...)
	m := r.newKey(t, r.newOrg(t))
	expect(t, r.command(t, m.Secret, "verify"), exitOK, "VALID")
	for _, c := range []struct {
		args []string
		said string
	}{
		{without("--nats-creds"), "Authorization Violation"},
		{without("--nats-ca"), "certificate signed by unknown authority"},
		{without("--nats-cert", "--nats-key"), "tls"},
		{append(without("--nats-creds"), "--nats-creds", "no-such-file"), "no-such-file"},
	} {
		refused := begin(t, t.TempDir(), c.args...)
		select {
		case <-refused.done:
		case <-time.After(30 * time.Second):
			t.Fatalf("it goes on, and should say %q: %s", c.said, refused.said)
		}
		if refused.cmd.ProcessState.ExitCode() == 0 || !strings.Contains(refused.said.String(), c.said) {
			t.Errorf("exit code %d, and should say %q: %s", refused.cmd.ProcessState.ExitCode(), c.said, refused.said)
		}
	}
}
