package commands_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

const newPassword = "seven grey anvils"

// seen waits for the read model.
func (d *door) seen(r commands.UserResult) {
	d.Helper()
	if err := d.store.WaitFor(d.Context(), r.Position); err != nil {
		d.Fatal(err)
	}
}

// TestAPasswordIsResetOnce by the last token, within its time, and lets its user in from there.
func TestAPasswordIsResetOnce(t *testing.T) {
	d := newDoor(t, eventstoretest.New(t))
	ada := d.user("ada@example.com", d.hash())
	request := func() domain.Secret {
		t.Helper()
		r, err := d.RequestPasswordReset(t.Context(), commands.RequestPasswordReset{Request: by(domain.System), User: ada})
		if err != nil || !strings.HasPrefix(r.Token.Reveal(), "ktpwr_") || !r.ExpiresAt.Equal(d.now.Add(time.Hour)) {
			t.Fatal(r.ExpiresAt, err)
		}
		return r.Token
	}
	reset := func(token domain.Secret, text string) error {
		r, err := d.ResetPassword(t.Context(), commands.ResetPassword{Token: token, Password: domain.NewSecret(text), IP: home})
		if err == nil {
			d.seen(r)
		}
		return err
	}
	first := request()
	second := request()
	before := d.hashes()
	for _, token := range []domain.Secret{first, domain.NewSecret(""), domain.NewSecret("ktpwr_" + strings.Repeat("0", 77)), domain.MintResetToken(ada, [32]byte{}), domain.MintResetToken(domain.NewUserID("nobody"), [32]byte{})} {
		if err := reset(token, newPassword); err != domain.ErrResetInvalid {
			t.Errorf("%.12s…: %v", token.Reveal(), err)
		}
	}
	d.now = d.now.Add(time.Hour)
	if err := reset(second, newPassword); err != domain.ErrResetInvalid || d.hashes() != before {
		t.Error("late:", err)
	}
	token := request()
	var refusal *domain.Error
	if err := reset(token, "ada@example.com"); !errors.As(err, &refusal) || refusal.Field != "password" {
		t.Error(err)
	}
	for i := range 10 { // others try meanwhile
		if _, err := d.FailLogIn(t.Context(), domain.LogInAttempt{Account: string(ada), User: ada, IP: away(i).String(), At: d.now}); err != nil {
			t.Fatal(err)
		}
	}
	if err := reset(token, newPassword); err != nil {
		t.Fatal(err)
	}
	if err := reset(token, newPassword); err != domain.ErrResetInvalid {
		t.Error("twice:", err)
	}
	if err := d.try("ada@example.com", newPassword, home); err != nil {
		t.Error("from where it was reset:", err)
	}
	if err := d.try("ada@example.com", newPassword, away(50)); waitOf(err) == 0 {
		t.Error("a reset ends the back-off elsewhere:", err)
	}
}

// TestAPasswordIsChangedByTheOneBefore and the sessions end but for the one that asks.
func TestAPasswordIsChangedByTheOneBefore(t *testing.T) {
	d := newDoor(t, eventstoretest.New(t))
	ada, org := d.user("ada@example.com", d.hash()), domain.NewOrgID("acme")
	session := domain.Principal{ID: string(ada), Org: org, User: ada, Session: domain.NewSessionID("s")}
	change := func(p domain.Principal, present, text string) (commands.UserResult, error) {
		return d.ChangePassword(t.Context(), commands.ChangePassword{Request: by(p), Present: domain.NewSecret(present), New: domain.NewSecret(text), IP: home})
	}
	if _, err := change(domain.System, rightPassword, newPassword); err != domain.ErrUserNotFound {
		t.Error("a key has a password:", err)
	}
	if _, err := change(session, "wrong", newPassword); err != domain.ErrWrongPassword {
		t.Error(err)
	}
	r, err := change(session, rightPassword, newPassword)
	if err != nil || r.User.Ended.Kept != session.Session || !r.User.Ended.At.Equal(d.now) {
		t.Fatalf("%+v, %v", r.User.Ended, err)
	}
	d.seen(r)
	for text, want := range map[string]error{rightPassword: domain.ErrLogInFailed, newPassword: nil} {
		if err := d.try("ada@example.com", text, home); err != want {
			t.Error(err)
		}
	}
	for range 3 {
		if _, err := change(session, "wrong", newPassword); err != domain.ErrWrongPassword {
			t.Error(err)
		}
	}
	if _, err := change(session, newPassword, rightPassword); waitOf(err) == 0 {
		t.Error("one who took a session can guess for ever:", err)
	}
}

// TestNoPasswordIsInAnEvent nor a hash or a token in what readers of the trail see.
func TestNoPasswordIsInAnEvent(t *testing.T) {
	d := newDoor(t, eventstoretest.New(t))
	ada := d.user("ada@example.com", d.hash())
	r, err := d.RequestPasswordReset(t.Context(), commands.RequestPasswordReset{Request: by(domain.System), User: ada})
	if err == nil {
		_, err = d.ResetPassword(t.Context(), commands.ResetPassword{Token: r.Token, Password: domain.NewSecret(newPassword), IP: home})
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = d.try("nobody@example.com", rightPassword, home)
	_ = d.try("ada@example.com", "not the right one", home)
	for p := eventstore.Position(1); ; p++ {
		m, err := d.ledger.Message(t.Context(), eventstore.Events, p)
		if errors.Is(err, eventstore.ErrNoSuchPosition) {
			return
		}
		for _, secret := range []string{rightPassword, newPassword, "not the right one", r.Token.Reveal(), "$argon2id$", "nobody@example.com"} {
			if strings.Contains(string(m.Data), secret) || secret != "$argon2id$" && strings.Contains(fmt.Sprint(m.Header), secret) {
				t.Errorf("position %d has %q", p, secret)
			}
		}
	}
}
