package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestAKeyIsNotSentOn has something in the service's place that redirects elsewhere.
func TestAKeyIsNotSentOn(t *testing.T) {
	t.Setenv("KEYTRAIL_KEY", "kt_mgmt_x")
	var asked []string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked = append(asked, r.URL.Path) }))
	defer other.Close()
	server := httptest.NewServer(http.RedirectHandler(other.URL+"/elsewhere", http.StatusTemporaryRedirect))
	defer server.Close()
	var out, errs strings.Builder
	code := run(t.Context(), []string{"principal", "--url", server.URL}, strings.NewReader(""), &out, &errs)
	if code != exitRefused || !strings.Contains(errs.String(), "307") || asked != nil {
		t.Errorf("exit code %d, %q, and elsewhere %q", code, errs.String(), asked)
	}
}
