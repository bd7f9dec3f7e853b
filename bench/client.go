package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/domain"
)

// httpClient sends every request but the load generator's. It keeps as many connections as
// any scenario uses at the same time.
var httpClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true, ResponseHeaderTimeout: 5 * time.Minute}}

// newRequest sends in as JSON; nil: nothing; a reader: NDJSON.
func newRequest(ctx context.Context, method, url, key string, in any) (*http.Request, error) {
	content, contentType := io.Reader(nil), jsonContent
	if lines, ok := in.(io.Reader); ok {
		content, contentType = lines, []string{"application/x-ndjson"}
	} else if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, content)
	if err == nil {
		req.Header = http.Header{"Authorization": {"Bearer " + key}, "Content-Type": contentType}
	}
	return req, err
}

// do returns an answer of status 2xx; any other is an error that quotes it.
func do(req *http.Request) (*http.Response, error) {
	res, err := httpClient.Do(req)
	if err != nil || res.StatusCode/100 == 2 {
		return res, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	return nil, errors.Join(fmt.Errorf("%s %s answered %s: %.500s", req.Method, req.URL, res.Status, answer), err)
}

// call sends in, unless it is nil, as JSON and returns the answer's bytes.
func call(ctx context.Context, method, url, key string, in any) ([]byte, error) {
	req, err := newRequest(ctx, method, url, key, in)
	if err != nil {
		return nil, err
	}
	res, err := do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}

// root calls the API with the root key and decodes the answer into out, unless that is nil.
func (e *env) root(ctx context.Context, method, path string, in, out any) error {
	answer, err := call(ctx, method, e.service.url(path), e.rootKey, in)
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(answer, out)
}

// fields are the members of a request.
type fields map[string]any

// A madeKey is a key that the bench has created through the API.
type madeKey struct {
	Key    api.Key `json:"key"`
	Secret string  `json:"secret"`
}

func (e *env) createKey(ctx context.Context, settings fields) (made madeKey, err error) {
	err = e.root(ctx, http.MethodPost, "/v1/keys", settings, &made)
	return made, err
}

// act disables or revokes a key.
func (e *env) act(ctx context.Context, id domain.KeyID, action string) error {
	return e.root(ctx, http.MethodPost, "/v1/keys/"+string(id)+"/"+action, fields{}, nil)
}

// A question is a verification's request, and a verdict its answer.
type question struct {
	Key    string   `json:"key"`
	Scopes []string `json:"scopes,omitempty"`
	IP     string   `json:"ip,omitempty"`
	Org    string   `json:"org_id,omitempty"`
}

type verdict struct {
	Valid bool           `json:"valid"`
	Code  domain.Outcome `json:"code"`
	KeyID domain.KeyID   `json:"key_id"`
}

// verify asks with the verifier's key and counts the answer, so that in the end the ledger
// can be compared with all answers.
func (e *env) verify(ctx context.Context, q question) (v verdict, raw []byte, err error) {
	if raw, err = call(ctx, http.MethodPost, e.service.url("/v1/verify"), e.verifier.Secret, q); err != nil {
		return v, nil, err
	}
	if err = json.Unmarshal(raw, &v); err == nil {
		e.count(v.Code, 1)
	}
	return v, raw, err
}
