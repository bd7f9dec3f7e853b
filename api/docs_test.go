package api_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// The page works offline, and runs nothing that this service does not serve as a file.
func TestTheDocumentationLoadsNothingFromElsewhere(t *testing.T) {
	s := start(t)
	_, header, page := s.do("", "GET", "/docs", "")
	policy := header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'; script-src 'self';") || strings.Contains(policy, "unsafe-eval") {
		t.Errorf("the policy is %q", policy)
	}
	parts := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(page, -1)
	if len(parts) < 5 || strings.Contains(page, "<script>") {
		t.Errorf("the page: %s", page)
	}
	for _, part := range parts {
		if part[1] == "data:," {
			continue
		}
		if status, _, _ := s.do("", "GET", part[1], ""); status != http.StatusOK || !strings.HasPrefix(part[1], "/") {
			t.Errorf("%s: %d", part[1], status)
		}
	}
	for _, path := range []string{"/docs/LICENSE", "/docs/NOTICE", "/docs/swagger-ui-bundle.js.LICENSE.txt"} {
		if status, _, _ := s.do("", "GET", path, ""); status != http.StatusOK {
			t.Errorf("the viewer's rights, %s: %d", path, status)
		}
	}
	for _, path := range []string{"/docs/nothing", "/docs/api.go", "/docs/%2e%2e", "/docs/"} {
		if status, header, _ := s.do("", "GET", path, ""); status != http.StatusNotFound || header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d", path, status)
		}
	}
}
