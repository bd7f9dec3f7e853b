// Command oidctest is an OpenID provider for tests: the one that the library zitadel/oidc has as its
// example, with people, groups and signing keys that a test can change while it runs. It is a module
// of its own, so that the service depends on nothing of it.
//
// It prints its issuer when it listens. PUT /test/users/ID replaces a person, DELETE /test/users/ID
// removes one, and POST /test/rotate signs with another key from then on, and forgets the one before.
package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address")
	clients := map[string]*storage.Client{}
	flag.Func("client", "ID SECRET REDIRECT_URI...; repeatable", func(text string) error {
		words := strings.Fields(text)
		if len(words) < 3 {
			return fmt.Errorf("%q has no id, secret and redirect URI", text)
		}
		clients[words[0]] = storage.WebClient(words[0], words[1], words[2:]...)
		return nil
	})
	flag.Parse()
	if err := serve(*listen, clients); err != nil {
		fmt.Fprintln(os.Stderr, "oidctest:", err)
		os.Exit(1)
	}
}

func serve(address string, clients map[string]*storage.Client) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	issuer := "http://" + l.Addr().String()
	p := &provider{people: map[string]person{}}
	p.Storage = storage.NewStorageWithClients(p, clients)
	p.rotate()
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /test/users/{id}", p.put)
	mux.HandleFunc("DELETE /test/users/{id}", p.remove)
	mux.HandleFunc("POST /test/rotate", func(http.ResponseWriter, *http.Request) { p.rotate() })
	mux.Handle("/", exampleop.SetupServer(issuer, p, slog.New(slog.NewTextHandler(io.Discard, nil)), false))
	fmt.Println(issuer)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { // it ends with the test that started it, whose pipe closes then
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return server.Serve(l)
}

// A person logs in with their id as user name.
type person struct {
	Password   string   `json:"password"`
	Name       string   `json:"name"`
	Email      string   `json:"email"`
	Unverified bool     `json:"unverified"` // the address
	Groups     []string `json:"groups"`
}

// A provider is the example's storage with other people and keys.
type provider struct {
	*storage.Storage

	mu     sync.Mutex
	people map[string]person
	key    signingKey
}

func (p *provider) put(w http.ResponseWriter, r *http.Request) {
	var someone person
	if err := json.NewDecoder(r.Body).Decode(&someone); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.people[r.PathValue("id")] = someone
}

func (p *provider) remove(_ http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.people, r.PathValue("id"))
}

// ExampleClientID is of the example's JWT profile, which nothing here uses.
func (p *provider) ExampleClientID() string { return "service" }

func (p *provider) GetUserByID(id string) *storage.User {
	p.mu.Lock()
	defer p.mu.Unlock()
	someone, found := p.people[id]
	if !found {
		return nil
	}
	return &storage.User{ID: id, Username: id, Password: someone.Password, FirstName: someone.Name, Email: someone.Email, EmailVerified: !someone.Unverified}
}

func (p *provider) GetUserByUsername(name string) *storage.User { return p.GetUserByID(name) }

func (p *provider) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, token, subject, origin string) error {
	err := p.Storage.SetUserinfoFromToken(ctx, info, token, subject, origin)
	p.mu.Lock()
	defer p.mu.Unlock()
	info.AppendClaims("groups", p.people[info.Subject].Groups)
	return err
}

// A signingKey is a key with its name.
type signingKey struct {
	id  string
	key *rsa.PrivateKey
}

func (k signingKey) ID() string                                  { return k.id }
func (k signingKey) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.RS256 }
func (k signingKey) Key() any                                    { return k.key }

type publicKey struct{ signingKey }

func (k publicKey) Algorithm() jose.SignatureAlgorithm { return jose.RS256 }
func (k publicKey) Use() string                        { return "sig" }
func (k publicKey) Key() any                           { return &k.key.PublicKey }

func (p *provider) rotate() {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.key = signingKey{rand.Text(), key}
}

func (p *provider) signing() signingKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.key
}

func (p *provider) SigningKey(context.Context) (op.SigningKey, error) { return p.signing(), nil }
func (p *provider) KeySet(context.Context) ([]op.Key, error) {
	return []op.Key{publicKey{p.signing()}}, nil
}
