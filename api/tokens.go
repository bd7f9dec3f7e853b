package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/verify"
)

// tokenBody asks for a derived token.
type tokenBody struct {
	Scopes   []string        `json:"scopes,omitempty" maxItems:"100" doc:"A subset of the key's; left out: all of them."`
	TTL      domain.Duration `json:"ttl,omitempty" doc:"How long it is good, like 1m, at most what the keyspace allows; default 5m, if that allows it."`
	Audience string          `json:"audience,omitempty" maxLength:"200" doc:"The service that it is for; default that of the keyspace."`
}

// tokenAnswer is a token, by the names of RFC 6749 where it has some.
type tokenAnswer struct {
	Token     string    `json:"token"`
	Type      string    `json:"token_type" doc:"Bearer"`
	ID        string    `json:"token_id" doc:"The claim jti."`
	Scopes    []string  `json:"scopes"`
	Audience  string    `json:"audience,omitempty"`
	ExpiresIn int64     `json:"expires_in" doc:"In seconds."`
	ExpiresAt time.Time `json:"expires_at"`
}

// deriveToken makes a token of the key that is presented. A token is no key: none is derived from it.
func (s *server) deriveToken(w http.ResponseWriter, r *http.Request) error {
	body, err := takeBody(w, r)
	if err != nil {
		return err
	}
	var ask tokenBody
	if len(body) > 0 {
		if ask, err = decodeStrict[tokenBody](body, "body"); err != nil {
			return err
		}
	}
	var a verify.Answer
	p, err := s.verifyPresented(w, r, ask.Scopes, &a)
	if err == nil && a.ByToken {
		err = domain.ErrInvalidKey
	}
	if err != nil {
		return err
	}
	secret, _ := presented(r.Header)
	d, err := s.Commands.DeriveToken(r.Context(), commands.DeriveToken{Request: commands.Request{By: p, Correlation: requestID(r.Context())}, Org: p.Org, Key: a.Credential.Key,
		Secret: domain.NewSecret(secret).Digest(), Scopes: ask.Scopes, Audience: ask.Audience, TTL: ask.TTL})
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Keytrail-Position", strconv.FormatUint(uint64(d.Position), 10))
	writeJSON(w, tokenAnswer{Token: d.Text, Type: "Bearer", ID: d.ID, Scopes: orEmpty(d.Scopes), Audience: d.Audience, ExpiresIn: int64(d.ExpiresAt.Sub(d.At).Seconds()), ExpiresAt: d.ExpiresAt})
	return nil
}

// keySetAge is how long the JWK set may be cached. It changes with the keyring, and when the keys of
// sessions are rotated.
const keySetAge = "public, max-age=300"

// keySet answers the public keys of derived tokens, and of sessions that can still be good.
func (s *server) keySet(w http.ResponseWriter, r *http.Request) {
	set, err := s.Tokens.KeySet(s.Store.SessionKeys().Generations(s.Now()))
	if err != nil {
		s.problem(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", keySetAge)
	_, _ = w.Write(set) // the client may be gone
}

func (s *server) documentDeriveToken() description {
	return description{summary: "Derive a short-lived token from the presented key", security: withKey,
		details: "The presented key is the credential; its keyspace must allow tokens. The token is a JWT that services check by themselves with /.well-known/jwks.json, and that POST /v1/verify takes as it takes a key.",
		body:    &huma.RequestBody{Content: s.jsonAnswer(tokenBody{})}, answer: s.jsonAnswer(tokenAnswer{}), headers: map[string]string{"Keytrail-Position": "Where the event token.derived is."}, refusals: []int{http.StatusConflict}}
}

func documentKeySet() description {
	return description{summary: "The public keys of derived tokens and sessions (RFC 7517)", details: "For services that check tokens by themselves.", security: openToAll,
		answer: map[string]*huma.MediaType{"application/jwk-set+json": {Schema: &huma.Schema{Type: "object"}}}}
}
