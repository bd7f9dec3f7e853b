package domain

import (
	"errors"
	"testing"
	"time"
)

// TestSwitchesOfAUserAreBounded follows sessions that lead from one to the next.
func TestSwitchesOfAUserAreBounded(t *testing.T) {
	x := Session{CreatedAt: noon}
	for _, minute := range []time.Duration{0, time.Minute, -time.Hour} {
		now := noon.Add(minute)
		for n := range maxSwitches {
			switches, err := x.Switch(now)
			if err != nil {
				t.Fatalf("switch %d at %v: %v", n, minute, err)
			}
			var all Sessions
			all.Apply(SessionCreated{Switches: switches, ExpiresAt: now.Add(SessionTTL), Header: Header{At: now}})
			x = all.Live[0]
		}
		if _, err := x.Switch(now.Add(59 * time.Second)); !errors.Is(err, ErrTooManySwitches) {
			t.Errorf("one more at %v: %v", minute, err)
		}
	}
}

// TestResetsOfAUserAreBounded: each hour has its own.
func TestResetsOfAUserAreBounded(t *testing.T) {
	var u User
	u.Apply(UserCreated{ID: ada, Email: "ada@example.com", Header: header(townHall)})
	for _, hour := range []time.Duration{0, time.Hour, -time.Hour} {
		c := Principalled{noon.Add(hour), townHall}
		for n := range maxResets {
			e, err := u.RequestReset(c, Digest{byte(n)}, c.At.Add(time.Hour))
			if err != nil {
				t.Fatalf("reset %d at %v: %v", n, hour, err)
			}
			u.Apply(e)
		}
		c.At = c.At.Add(59 * time.Minute)
		if _, err := u.RequestReset(c, Digest{}, c.At.Add(time.Hour)); !errors.Is(err, ErrTooManyResets) {
			t.Errorf("one more at %v: %v", hour, err)
		}
		if u.Reset == nil || u.Reset.Digest[0] != maxResets-1 {
			t.Errorf("the last token: %v", u.Reset)
		}
	}
}

// TestANewAddressEndsAReset, whose token went to the one before; another name does not.
func TestANewAddressEndsAReset(t *testing.T) {
	var u User
	u.Apply(UserCreated{ID: ada, Email: "ada@example.com", Header: header(townHall)})
	u.Apply(PasswordResetRequested{Digest: Digest{1}, ExpiresAt: noon.Add(time.Hour)})
	reset := ChangePassword{Principalled: Principalled{At: noon}, Hash: "$new", Reset: &Digest{1}}
	u.Apply(UserUpdated{Name: new("Countess")})
	if _, err := u.ChangePassword(reset); err != nil {
		t.Error(err)
	}
	u.Apply(UserUpdated{Email: new("countess@example.com")})
	if _, err := u.ChangePassword(reset); !errors.Is(err, ErrResetInvalid) {
		t.Errorf("by the token that went to the former address: %v", err)
	}
}
