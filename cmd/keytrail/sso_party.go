package main

import (
	"errors"
	"net/url"
	"strings"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/internal/keyring"
	"github.com/keytrail/keytrail/sso"
)

// openSSO makes the relying party of single sign-on. Without --public-url there is none.
func (s *service) openSSO(ring *keyring.Keyring, o *commands.Options) {
	o.SSOHost, o.SSOKey = s.sso.Objection, ring.Derive(keyring.SSO)
	if s.PublicURL != "" {
		s.party = sso.New(sso.Options{PublicURL: s.PublicURL, HTTP: s.sso.HTTPClient(), Key: ring.Derive(keyring.SSOFlow)})
		s.onStop(func() error { s.party.Close(); return nil })
	}
}

// checkPublicURL refuses what providers could not send a browser back to.
func (c *Config) checkPublicURL() error {
	u, err := url.Parse(c.PublicURL)
	if c.PublicURL != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "") {
		return errors.New("--public-url: must be a URL like https://keys.example.com, without a path")
	}
	return nil
}
