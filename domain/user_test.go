package domain

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestUser(t *testing.T) {
	isAda := UserCreated{ID: ada, Email: "ada@example.com", Name: "Ada", Password: "$old", Header: header(townHall)}
	made := UserCreated{ID: ada, Email: "ada@example.com", Directory: town}
	asked := PasswordResetRequested{Digest: Digest{1}, ExpiresAt: today.Add(time.Hour)}
	herself := Principal{ID: string(ada), Org: town, User: ada, Scopes: []string{"*"}}
	who := func(p Principal) Principalled { return Principalled{today, p} }
	create := func(p Principal) func(User) (Event, error) {
		return func(u User) (Event, error) {
			return u.Create(CreateUser{Principalled: who(p), ID: ada, Email: "ada@example.com", Name: "Ada", Password: "$old"})
		}
	}
	update := func(p Principal, email, name *string, attributes map[string]*string) func(User) (Event, error) {
		return func(u User) (Event, error) {
			return u.Update(UpdateUser{Principalled: who(p), Email: email, Name: name, Attributes: AttributeChanges{Values: attributes}})
		}
	}
	forgo := func(email string) func(User) (Event, error) {
		return func(u User) (Event, error) { return u.Forgo(who(townHall), email) }
	}
	change := func(p Principal, former PasswordHash, reset *Digest) func(User) (Event, error) {
		return func(u User) (Event, error) {
			return u.ChangePassword(ChangePassword{Principalled: who(p), Hash: "$new", Former: former, Reset: reset})
		}
	}
	do := func(p Principal, f func(User, Principalled) (Event, error)) func(User) (Event, error) {
		return func(u User) (Event, error) { return f(u, who(p)) }
	}
	forgone := AddressForgone{Email: "ada@example.com", Header: header(townHall)}
	for name, c := range map[string]struct {
		given []Event
		when  func(User) (Event, error)
		then  Event
		err   error
	}{
		"a user":                           {nil, create(townHall), isAda, nil},
		"a tenant's user":                  {nil, create(townMayor), nil, ErrOutOfReach},
		"a user twice":                     {[]Event{isAda}, create(townHall), nil, ErrUserExists},
		"a user whose address was forgone": {[]Event{forgone}, create(townHall), isAda, nil},
		"another name":                     {[]Event{isAda}, update(townHall, nil, new("A."), nil), UserUpdated{Name: new("A."), Header: header(townHall)}, nil},
		"another address":                  {[]Event{isAda}, update(townHall, new("a@example.com"), nil, nil), UserUpdated{Email: new("a@example.com"), Header: header(townHall)}, nil},
		"attributes":                       {[]Event{isAda}, update(townHall, nil, nil, map[string]*string{"team": new("x")}), UserUpdated{Attributes: &Attributes{"team": "x"}, Header: header(townHall)}, nil},
		"what is so already":               {[]Event{isAda}, update(townHall, new("ada@example.com"), new("Ada"), nil), nil, nil},
		"an address of one's own choice":   {[]Event{isAda}, update(herself, new("a@example.com"), nil, nil), nil, ErrUserNotFound},
		"a change by the owner":            {[]Event{isAda}, update(townMayor, nil, new("A."), nil), nil, ErrUserNotFound},
		"a change of nobody":               {nil, update(townHall, nil, new("A."), nil), nil, ErrUserNotFound},
		"a change of who is removed":       {[]Event{isAda, UserRemoved{Header: header(townHall)}}, update(townHall, nil, new("A."), nil), nil, ErrUserRemoved},
		"forgoing before there is a user":  {nil, forgo("ada@example.com"), forgone, nil},
		"forgoing what one has":            {[]Event{isAda}, forgo("ada@example.com"), nil, ErrEmailTaken},
		"forgoing what one had":            {[]Event{isAda, UserUpdated{Email: new("a@example.com")}}, forgo("ada@example.com"), forgone, nil},
		"forgoing what a directory said":   {[]Event{made}, forgo("ada@example.com"), forgone, nil},
		"forgoing after the end":           {[]Event{isAda, UserRemoved{Header: header(townHall)}}, forgo("ada@example.com"), nil, nil},
		"disabling":                        {[]Event{isAda}, do(townHall, User.Disable), UserDisabled{header(townHall)}, nil},
		"disabling twice":                  {[]Event{isAda, UserDisabled{header(townHall)}}, do(townHall, User.Disable), nil, nil},
		"disabling by oneself":             {[]Event{isAda}, do(herself, User.Disable), nil, ErrUserNotFound},
		"enabling":                         {[]Event{isAda, UserDisabled{header(townHall)}}, do(townHall, User.Enable), UserEnabled{header(townHall)}, nil},
		"enabling oneself":                 {[]Event{isAda, UserDisabled{header(townHall)}}, do(herself, User.Enable), nil, ErrUserNotFound},
		"enabling who is":                  {[]Event{isAda}, do(townHall, User.Enable), nil, nil},
		"removing":                         {[]Event{isAda}, do(townHall, User.Remove), UserRemoved{Email: "ada@example.com", Header: header(townHall)}, nil},
		"removing twice":                   {[]Event{isAda, UserRemoved{Header: header(townHall)}}, do(townHall, User.Remove), nil, nil},
		"removing by an owner":             {[]Event{isAda}, do(townMayor, User.Remove), nil, ErrUserNotFound},
		"removing nobody":                  {[]Event{forgone}, do(townHall, User.Remove), nil, ErrUserNotFound},
		"one's password":                   {[]Event{isAda}, change(herself, "$old", nil), PasswordChanged{Password: "$new", Header: header(herself)}, nil},
		"one's password, changed since":    {[]Event{isAda, PasswordChanged{Password: "$other"}}, change(herself, "$old", nil), nil, ErrWrongPassword},
		"another's password":               {[]Event{isAda}, change(townClerk, "$old", nil), nil, ErrUserNotFound},
		"a password by a token":            {[]Event{isAda, asked}, change(Principal{}, "", &Digest{1}), PasswordChanged{Reset: true, Password: "$new", Header: Header{today, string(ada)}}, nil},
		"a password by the token again":    {[]Event{isAda, asked, PasswordChanged{Reset: true}}, change(Principal{}, "", &Digest{1}), nil, ErrResetInvalid},
		"a password by another token":      {[]Event{isAda, asked}, change(Principal{}, "", &Digest{2}), nil, ErrResetInvalid},
		"a password by none that was made": {[]Event{isAda}, change(Principal{}, "", &Digest{}), nil, ErrResetInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			var u User
			for _, e := range c.given {
				u.Apply(e)
			}
			event, err := c.when(u)
			if !reflect.DeepEqual(event, c.then) || !errors.Is(err, c.err) {
				t.Errorf("%+v, %v; want %+v, %v", event, err, c.then, c.err)
			}
		})
	}
}

func TestAddress(t *testing.T) {
	claim := func(u, forgone UserID) func(Address) (Event, error) {
		return func(a Address) (Event, error) {
			return a.Claim(ClaimAddress{Principalled: Principalled{today, townHall}, Email: "x@example.com", User: u, Forgone: forgone})
		}
	}
	release := func(u UserID) func(Address) (Event, error) {
		return func(a Address) (Event, error) {
			return a.Release(ReleaseAddress{Principalled: Principalled{today, townHall}, Email: "x@example.com", User: u})
		}
	}
	adas := AddressClaimed{Email: "x@example.com", User: ada, Header: header(townHall)}
	bobs := AddressClaimed{Email: "x@example.com", User: bob, Header: header(townHall)}
	released := AddressReleased{Email: "x@example.com", User: ada, Header: header(townHall)}
	for name, c := range map[string]struct {
		given []Event
		when  func(Address) (Event, error)
		then  Event
		err   error
	}{
		"a free address":               {nil, claim(ada, ""), adas, nil},
		"one's own":                    {[]Event{adas}, claim(ada, ""), nil, nil},
		"another's":                    {[]Event{adas}, claim(bob, ""), nil, ErrEmailTaken},
		"one that was forgone":         {[]Event{adas}, claim(bob, ada), bobs, nil},
		"one that a third has by now":  {[]Event{adas, bobs}, claim(eve, ada), nil, ErrEmailTaken},
		"one that was released":        {[]Event{adas, released}, claim(bob, ""), bobs, nil},
		"releasing":                    {[]Event{adas}, release(ada), released, nil},
		"releasing another's":          {[]Event{adas, bobs}, release(ada), nil, nil},
		"releasing what nobody has":    {nil, release(ada), nil, nil},
		"releasing what was, by now":   {[]Event{adas, released}, release(ada), nil, nil},
		"released, and one's own anew": {[]Event{adas, released}, claim(ada, ""), adas, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var a Address
			for _, e := range c.given {
				a.Apply(e)
			}
			event, err := c.when(a)
			if !reflect.DeepEqual(event, c.then) || !errors.Is(err, c.err) {
				t.Errorf("%+v, %v; want %+v, %v", event, err, c.then, c.err)
			}
		})
	}
}

// One mailbox has one spelling, and no letter that only looks like another makes a second one.
func TestNormalEmail(t *testing.T) {
	for text, want := range map[string]string{
		"ada@example.com": "ada@example.com", "  Ada@Example.COM ": "ada@example.com", "ada+keys@example.com": "ada+keys@example.com", "o'brien@example.com": "o'brien@example.com",
		"": "", "ada": "", "ada@": "", "@example.com": "", "Ada <ada@example.com>": "", `"a b"@example.com`: "", "a@b@example.com": "", "ada@example.com, eve@example.com": "",
		"\u212Aelvin@example.com": "", "аda@example.com": "", "ada@exämple.com": "", "ada@example.com\x00": "", "ada@\nexample.com": "", "ada(x)@example.com": "",
		strings.Repeat("a", 250) + "@example.com": "",
	} {
		got, err := NormalEmail(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestInvitationToken(t *testing.T) {
	token := MintInvitationToken(town, first, [32]byte{7})
	org, id, err := ParseInvitationToken(token)
	if org != town || id != first || err != nil || !strings.HasPrefix(token.Reveal(), "ktinv_") {
		t.Errorf("%s, %s, %v", org, id, err)
	}
	for _, bad := range []string{"", "ktinv_", token.Reveal() + "0", token.Reveal()[1:], strings.ToUpper(token.Reveal())} {
		if _, _, err := ParseInvitationToken(NewSecret(bad)); !errors.Is(err, ErrInvitationNotFound) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// A provider knows a user as one, whoever else it says is the same person.
func TestAProviderKnowsAUserAsOne(t *testing.T) {
	u := User{ID: NewUserID("ada")}
	first := Identity{Org: NewOrgID("acme"), Issuer: "https://id.example.com", Subject: "1"}
	for _, c := range []struct {
		identity Identity
		want     error
	}{
		{first, nil}, {first, nil},
		{Identity{first.Org, first.Issuer, "2"}, ErrIdentityExists},
		{Identity{first.Org, "https://other.example.com", "2"}, nil},
		{Identity{NewOrgID("globex"), first.Issuer, "2"}, nil},
	} {
		e, err := u.LinkIdentity(Principalled{}, c.identity)
		if !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, want %v", c.identity, err, c.want)
		}
		if e != nil {
			u.Apply(e)
		}
	}
	if len(u.Identities) != 3 {
		t.Errorf("%+v", u.Identities)
	}
}
