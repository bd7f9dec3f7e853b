package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// A client calls the service's API with one key. It may be used by many goroutines.
type client struct {
	address string
	key     string
	http    *http.Client
}

func newClient(address, key string, connections int) *client {
	return &client{address: address, key: key, http: &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: connections, DisableCompression: true},
	}}
}

// close ends the connections, which would otherwise make the service's stop wait.
func (c *client) close() { c.http.CloseIdleConnections() }

// call sends in, unless it is nil, as JSON and reads the answer into out, unless that is
// nil. Any status but want is an error that quotes the answer.
func (c *client) call(ctx context.Context, method, path string, in, out any, want int) error {
	body, err := c.raw(ctx, method, path, in, want)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("%s %s: %w: %.300s", method, path, err, body)
	}
	return nil
}

func (c *client) raw(ctx context.Context, method, path string, in any, want int) ([]byte, error) {
	var content io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.address+path, content)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != want {
		return nil, fmt.Errorf("%s %s answered %s, not %d: %.500s", method, path, res.Status, want, body)
	}
	return body, nil
}

// A shownKey is what the bench looks at of a key in an answer.
type shownKey struct {
	ID         string            `json:"id"`
	OrgID      string            `json:"org_id"`
	Name       string            `json:"name"`
	Prefix     string            `json:"prefix"`
	Owner      string            `json:"owner"`
	Scopes     []string          `json:"scopes"`
	Status     string            `json:"status"`
	CreatedAt  time.Time         `json:"created_at"`
	ExpiresAt  *time.Time        `json:"expires_at"`
	LastUsedAt *time.Time        `json:"last_used_at"`
	Metadata   map[string]string `json:"metadata"`
}

// A newKey is asked for with POST /v1/keys.
type newKey struct {
	OrgID        string            `json:"org_id,omitempty"`
	Keyspace     string            `json:"keyspace,omitempty"`
	Name         string            `json:"name"`
	Owner        string            `json:"owner,omitempty"`
	Scopes       []string          `json:"scopes,omitempty"`
	TTL          string            `json:"ttl,omitempty"`
	RateLimits   []rateLimit       `json:"rate_limits,omitempty"`
	AllowedCIDRs []string          `json:"allowed_cidrs,omitempty"`
	Metadata     map[string]string `json:"metadata,omitempty"`
}

type rateLimit struct {
	Limit  int    `json:"limit"`
	Window string `json:"window"`
}

// A madeKey is the answer to newKey.
type madeKey struct {
	Key    shownKey `json:"key"`
	Secret string   `json:"secret"`
}

func (c *client) create(ctx context.Context, k newKey) (madeKey, error) {
	var made madeKey
	return made, c.call(ctx, http.MethodPost, "/v1/keys", k, &made, http.StatusCreated)
}

func (c *client) act(ctx context.Context, id, action string, in any) error {
	return c.call(ctx, http.MethodPost, "/v1/keys/"+id+"/"+action, in, nil, http.StatusOK)
}

type question struct {
	Key      string   `json:"key"`
	Scopes   []string `json:"scopes,omitempty"`
	IP       string   `json:"ip,omitempty"`
	Keyspace string   `json:"keyspace,omitempty"`
}

type verdict struct {
	Valid bool   `json:"valid"`
	Code  string `json:"code"`
	KeyID string `json:"key_id"`
}
