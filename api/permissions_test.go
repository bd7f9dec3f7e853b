package api

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/token"
)

var writePermissions = flag.Bool("permissions.write", false, "write docs/permissions.md")

// permissions are those of every route of a service that has all of them.
func permissions(t *testing.T) []routePermission {
	t.Helper()
	tokens, err := token.NewIssuer([32]byte{1}, [32]byte{2}, "")
	if err != nil {
		t.Fatal(err)
	}
	return New(Options{Tokens: tokens}).(*middleware).permissions
}

// TestPermissionsAreDocumented holds docs/permissions.md to the routes and what each demands.
func TestPermissionsAreDocumented(t *testing.T) {
	file := filepath.Join("..", "docs", "permissions.md")
	text := permissionsPage(permissions(t))
	if *writePermissions {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile(file)
	if err != nil || string(page) != text {
		t.Errorf("%s is not what the routes demand now; go test ./api -run TestPermissionsAreDocumented -args -permissions.write writes it: %v", file, err)
	}
}

// TestEachRouteDemandsSomethingOrSaysWhyNot as the table must.
func TestEachRouteDemandsSomethingOrSaysWhyNot(t *testing.T) {
	for _, r := range permissions(t) {
		if (r.scope == "") != (r.why != "") || r.installation && r.scope == "" || r.open && r.scope != "" {
			t.Errorf("%s: %+v", r.pattern, r.permission)
		}
	}
}

// A Route is one of the service, for tests from outside.
type Route struct{ ID, Pattern, Method, Path string }

// Routes are all of them.
func Routes(t *testing.T) (all []Route) {
	for _, r := range permissions(t) {
		method, path := http.MethodGet, r.pattern // that takes any method
		if strings.Contains(r.pattern, " ") {
			method, path = cutPattern(r.pattern)
		}
		all = append(all, Route{r.id, r.pattern, method, path})
	}
	return all
}

// Holds reports whether scopes include one. No wildcard includes keys:reveal.
func Holds(scopes []string, scope string) bool {
	if scope == domain.RevealScope {
		return slices.Contains(scopes, scope)
	}
	return domain.Principal{Scopes: scopes}.Demand(scope) == nil
}

func yes(is bool) string { return map[bool]string{true: "yes"}[is] }

func permissionsPage(routes []routePermission) string {
	var b strings.Builder
	b.WriteString("# Who may what\n\nWritten by a test from the routes themselves. A caller needs the scope of the route, and reaches its own organization alone, or,\n" +
		"installation-wide, all: what another organization has is answered as if it did not exist.\n\n" +
		"The roles of members that are built in are those of an organization; a role of its own is a set of scopes, and a key has its own.\n\n" +
		"| route | scope | installation-wide only | " + strings.Join(domain.BuiltInRoles(), " | ") + " |\n|---|---|---|" + strings.Repeat("---|", len(domain.BuiltInRoles())) + "\n")
	for _, r := range routes {
		if r.scope == "" {
			continue
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s |", r.pattern, r.scope, yes(r.installation))
		for _, role := range domain.BuiltInRoles() {
			scopes, _ := domain.BuiltInRole(role)
			fmt.Fprintf(&b, " %s |", yes(!r.installation && Holds(scopes, r.scope)))
		}
		b.WriteString("\n")
	}
	b.WriteString("\nRoutes without a scope:\n\n| route | who may | why |\n|---|---|---|\n")
	for _, r := range routes {
		if r.scope == "" {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", r.pattern, map[bool]string{true: "anyone", false: "any caller who is known"}[r.open], r.why)
		}
	}
	return b.String()
}
