package main

import (
	"strings"
	"syscall"
	"testing"
)

// TestBackOffOutlivesTheProcess kills the service after wrong passwords, for a user and for an address
// that no user has. No password, and nothing of a session, is in what it logs.
func TestBackOffOutlivesTheProcess(t *testing.T) {
	const right, wrong = "tangent lamp orbit", "seven grey anvils"
	data := t.TempDir()
	flags := []string{"--log-level", "debug", "--access-log"}
	r := launch(t, data, flags...)
	r.call(t, "POST", "/v1/users", map[string]any{"email": "ada@example.com", "name": "Ada", "password": right}, nil)
	logIn := func(email, password string) (token string, err error) {
		var begun struct{ Token string }
		err = send(t.Context(), "POST", r.url+"/v1/sessions", "", "", map[string]any{"email": email, "password": password}, &begun)
		return begun.Token, err
	}
	refused := func(step, email, password, code string) {
		t.Helper()
		if _, err := logIn(email, password); err == nil || !strings.Contains(err.Error(), code) {
			t.Errorf("%s, %s: %v", step, email, err)
		}
	}
	token, err := logIn("ada@example.com", right)
	if err != nil {
		t.Fatal(err)
	}
	people := []string{"ada@example.com", "nobody@example.com"}
	for _, email := range people {
		for range 8 { // the last of which wait
			if _, err := logIn(email, wrong); err == nil {
				t.Fatal("a wrong password is right")
			}
		}
		refused("before", email, right, "too_many_log_ins")
	}
	r.end(t, syscall.SIGKILL)
	said := r.said.String()
	r = launch(t, data, flags...)
	for _, email := range people {
		for range 3 { // the wait may be over: it begins again
			_, _ = logIn(email, wrong)
		}
		refused("after", email, right, "too_many_log_ins")
	}
	for _, secret := range []string{right, wrong, token, "$argon2id$"} {
		if strings.Contains(said+r.said.String(), secret) {
			t.Errorf("the log has %.20q", secret)
		}
	}
}
