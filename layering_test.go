package keytrail_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/keytrail/keytrail/"

// layers says, for each folder, which of ours it may import. Test files may import more.
var layers = map[string][]string{
	"domain":                    {},
	"internal/aead":             {},
	"internal/backoff":          {},
	"internal/fastjson":         {},
	"internal/filelock":         {},
	"internal/githubscan":       {},
	"internal/inflight":         {},
	"internal/password":         {"internal/inflight"},
	"internal/scim":             {},
	"internal/token":            {},
	"internal/tracing":          {},
	"internal/strictjson":       {},
	"internal/dirsync":          {},
	"internal/documents":        {},
	"internal/secretfile":       {"internal/dirsync"},
	"internal/keyring":          {"internal/secretfile"},
	"internal/lease":            {"eventstore", "internal/backoff"},
	"eventstore":                {"domain", "internal/backoff", "internal/fastjson", "internal/filelock", "internal/inflight", "internal/tracing"},
	"eventstore/eventstoretest": {"domain", "eventstore"},
	"commands":                  {"domain", "eventstore", "internal/aead", "internal/password", "internal/token", "internal/backoff", "internal/tracing"},
	"projections":               {"domain", "eventstore", "internal/backoff", "internal/dirsync", "internal/fastjson", "internal/tracing"},
	"verify":                    {"domain", "eventstore", "projections", "internal/backoff", "internal/fastjson", "internal/token", "internal/tracing"},
	"backup":                    {"domain", "eventstore"},
	"audit":                     {"domain", "eventstore", "internal/backoff", "internal/dirsync"},
	"audit/witness":             {"domain", "eventstore", "audit", "internal/backoff", "internal/secretfile"},
	"audit/evidence":            {"domain", "eventstore", "audit", "internal/fastjson"},
	"api":                       {"reactions", "domain", "internal/scim", "eventstore", "commands", "projections", "verify", "backup", "audit", "audit/evidence", "internal/fastjson", "internal/githubscan", "internal/inflight", "internal/strictjson", "internal/token", "sso"},
	"sso":                       {"domain", "internal/aead"},
	"internal/oidctest":         {}, // a module of its own
	"extauthz":                  {},
	"forwarders":                {"domain", "eventstore", "forwarders/format", "forwarders/transport", "internal/backoff", "internal/lease"},
	"forwarders/format":         {"domain", "eventstore"},
	"forwarders/outbound":       {},
	"forwarders/transport":      {"domain", "forwarders/outbound", "internal/fastjson"},
	"reactions":                 {"domain", "eventstore", "commands", "projections", "internal/backoff", "internal/lease"},
	"natsproxy":                 {"domain", "internal/inflight"},
	"cmd/keytrail":              {"reactions", "internal/password", "natsproxy", "domain", "eventstore", "commands", "projections", "verify", "backup", "audit", "api", "extauthz", "forwarders", "forwarders/outbound", "forwarders/transport", "internal/backoff", "internal/dirsync", "internal/documents", "internal/filelock", "internal/githubscan", "internal/inflight", "internal/keyring", "internal/secretfile", "internal/token", "audit/evidence", "audit/witness", "sso"},
	"bench":                     {"domain", "eventstore", "commands", "projections", "verify", "api", "internal/backoff", "internal/keyring", "internal/password", "internal/token"},
	"examples/gateways/echo":    {},
	"examples/clients/go":       {}, // a module of its own
	"examples/play":             {},
	// A module of its own, too.
	"examples/siem/receivers/collector":     {},
	"examples/siem/receivers/elasticsearch": {},
	"examples/siem/receivers/splunk":        {},
	"examples/siem/receivers/webhook":       {},
	".":                                     {},
}

func TestLayers(t *testing.T) {
	files := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		files++
		folder := filepath.ToSlash(filepath.Dir(path))
		allowed, known := layers[folder]
		if !known {
			t.Errorf("%s is in a folder that the table does not know", path)
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range f.Imports {
			name, _ := strconv.Unquote(i.Path.Value)
			ours, isOurs := strings.CutPrefix(name, module)
			switch {
			case isOurs && !slices.Contains(allowed, ours):
				t.Errorf("%s imports %s, which %s may not", path, ours, folder)
			case folder == "domain" && strings.Contains(strings.Split(name, "/")[0], "."):
				t.Errorf("%s imports %s; domain has the standard library alone", path, name)
			case strings.HasPrefix(name, "github.com/nats-io/") && !slices.Contains([]string{"eventstore", "eventstore/eventstoretest", "cmd/keytrail", "bench", "forwarders/transport"}, folder):
				t.Errorf("%s imports %s; NATS belongs to eventstore", path, name)
			case strings.HasPrefix(name, "github.com/dgraph-io/") && folder != "projections":
				t.Errorf("%s imports %s; Badger belongs to projections", path, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 30 {
		t.Errorf("only %d files were looked at", files)
	}
}

// TestRefusalsAreInOneTable: a code is part of the API, and a text is written once.
func TestRefusalsAreInOneTable(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "domain") {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), "domain.Error{") {
			t.Errorf("%s makes a refusal of its own; domain/refusals.go has the table", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
