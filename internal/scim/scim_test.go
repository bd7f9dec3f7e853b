package scim

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
)

// patched is a user after operations, as JSON without what is not kept.
func patched(t *testing.T, operations string) (*User, error) {
	t.Helper()
	active := true
	u := &User{UserName: "ada", Email: "ada@work.example", Name: Name{Given: "Ada", Family: "Lovelace"}, Active: &active}
	parsed, err := ParsePatch([]byte(`{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[` + operations + `]}`))
	if err == nil {
		err = u.Patch(parsed)
	}
	return u, err
}

func TestPatchesOfUsers(t *testing.T) {
	for name, c := range map[string]struct {
		operations string
		want       func(u *User) bool
	}{
		"Entra ID disables with a text":          {`{"op":"Replace","path":"active","value":"False"}`, func(u *User) bool { return !*u.Active }},
		"Okta disables without a path":           {`{"op":"replace","value":{"active":false}}`, func(u *User) bool { return !*u.Active }},
		"a path has no case":                     {`{"op":"replace","path":"ACTIVE","value":false}`, func(u *User) bool { return !*u.Active }},
		"a path with the schema":                 {`{"op":"replace","path":"urn:ietf:params:scim:schemas:core:2.0:User:userName","value":"a"}`, func(u *User) bool { return u.UserName == "a" }},
		"a value with the schema":                {`{"op":"add","value":{"urn:ietf:params:scim:schemas:core:2.0:User":{"userName":"a"}}}`, func(u *User) bool { return u.UserName == "a" }},
		"an extension is ignored":                {`{"op":"add","value":{"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"userName":"a"},"urn:x:2.0:User:userName":"b"}}`, func(u *User) bool { return u.UserName == "ada" }},
		"an attribute that is not kept":          {`{"op":"replace","path":"addresses[type eq \"work\"].streetAddress","value":"x"}`, func(u *User) bool { return u.UserName == "ada" }},
		"a part of the name":                     {`{"op":"add","path":"name.familyName","value":"King"}`, func(u *User) bool { return u.Name == Name{Given: "Ada", Family: "King"} }},
		"a name is added to":                     {`{"op":"add","path":"name","value":{"familyName":"King"}}`, func(u *User) bool { return u.Name == Name{Given: "Ada", Family: "King"} }},
		"a name is replaced":                     {`{"op":"replace","path":"name","value":{"familyName":"King"}}`, func(u *User) bool { return u.Name == Name{Family: "King"} }},
		"members of a value with dots":           {`{"op":"replace","value":{"name.familyName":"King","displayName":"A"}}`, func(u *User) bool { return u.Name.Family == "King" && u.DisplayName == "A" }},
		"the address of work":                    {`{"op":"replace","path":"emails[type eq \"work\"].value","value":"a@b.example"}`, func(u *User) bool { return u.Email == "a@b.example" }},
		"the primary address":                    {`{"op":"replace","path":"emails[primary eq true].value","value":"a@b.example"}`, func(u *User) bool { return u.Email == "a@b.example" }},
		"the address of home is not kept":        {`{"op":"replace","path":"emails[type eq \"home\"].value","value":"a@b.example"}`, func(u *User) bool { return u.Email == "ada@work.example" }},
		"a list of addresses":                    {`{"op":"replace","path":"emails","value":[{"value":"h@b.example","type":"home"},{"value":"w@b.example","type":"work"}]}`, func(u *User) bool { return u.Email == "w@b.example" }},
		"another address is added":               {`{"op":"add","path":"emails","value":[{"value":"h@b.example","type":"home"}]}`, func(u *User) bool { return u.Email == "ada@work.example" }},
		"an address is taken away":               {`{"op":"remove","path":"emails[type eq \"work\"]"}`, func(u *User) bool { return u.Email == "" }},
		"null takes away":                        {`{"op":"replace","path":"displayName","value":null}`, func(u *User) bool { return u.DisplayName == "" }},
		"the last operation counts":              {`{"op":"replace","path":"active","value":false},{"op":"replace","path":"active","value":true}`, func(u *User) bool { return *u.Active }},
		"external ids keep their case and marks": {`{"op":"add","path":"externalId","value":"Jürgen\"x"}`, func(u *User) bool { return u.ExternalID == `Jürgen"x` }},
	} {
		t.Run(name, func(t *testing.T) {
			if u, err := patched(t, c.operations); err != nil || !c.want(u) {
				t.Errorf("%+v, %v", u, err)
			}
		})
	}
}

func TestPatchesThatAreRefused(t *testing.T) {
	for operations, keyword := range map[string]string{
		``: InvalidSyntax,
		`{"op":"copy","path":"active","value":true}`: InvalidSyntax,
		`{"op":"remove"}`: NoTarget,
		`{"op":"replace","path":"active","value":"perhaps"}`:                                         InvalidValue,
		`{"op":"remove","path":"active"}`:                                                            InvalidValue,
		`{"op":"remove","path":"userName"}`:                                                          InvalidValue,
		`{"op":"replace","path":"userName","value":["a"]}`:                                           InvalidValue,
		`{"op":"replace","value":"a"}`:                                                               InvalidValue,
		`{"op":"replace","path":"a[","value":"a"}`:                                                   InvalidPath,
		`{"op":"replace","path":"` + strings.Repeat("a", maxFilter+1) + `","value":"a"}`:             InvalidPath,
		strings.Repeat(`{"op":"add","path":"active","value":true},`, maxOperations) + `{"op":"add"}`: InvalidSyntax,
	} {
		var refusal *Error
		if _, err := patched(t, operations); !errors.As(err, &refusal) || refusal.Type != keyword || refusal.Status != 400 || refusal.Detail == "" {
			t.Errorf("%.60s: %v, want %s", operations, err, keyword)
		}
	}
}

func TestPatchesOfGroups(t *testing.T) {
	in := func(cleared bool, members ...string) func(GroupChange) bool {
		return func(c GroupChange) bool {
			var got []string
			for id, in := range c.Members {
				got = append(got, map[bool]string{true: "+", false: "-"}[in]+id)
			}
			slices.Sort(got)
			return c.Cleared == cleared && slices.Equal(got, members)
		}
	}
	for name, c := range map[string]struct {
		operations string
		want       func(GroupChange) bool
	}{
		"Entra ID adds":            {`{"op":"Add","path":"members","value":[{"$ref":null,"value":"a"}]}`, in(false, "+a")},
		"Entra ID removes":         {`{"op":"Remove","path":"members","value":[{"$ref":null,"value":"a"}]}`, in(false, "-a")},
		"Okta removes":             {`{"op":"remove","path":"members[value eq \"a\"]"}`, in(false, "-a")},
		"several at once":          {`{"op":"remove","path":"members[value eq \"a\" or value eq \"b\"]"}`, in(false, "-a", "-b")},
		"one that is no list":      {`{"op":"add","path":"members","value":{"value":"a"}}`, in(false, "+a")},
		"all leave":                {`{"op":"remove","path":"members"}`, in(true)},
		"all leave but one":        {`{"op":"replace","path":"members","value":[{"value":"a"}]}`, in(true, "+a")},
		"the order counts":         {`{"op":"add","path":"members","value":[{"value":"a"}]},{"op":"remove","path":"members[value eq \"a\"]"}`, in(false, "-a")},
		"what follows a clearance": {`{"op":"replace","path":"members","value":[{"value":"a"}]},{"op":"add","path":"members","value":[{"value":"b"}]}`, in(true, "+a", "+b")},
		"Okta renames":             {`{"op":"replace","value":{"id":"x","displayName":"B"}}`, func(c GroupChange) bool { return *c.DisplayName == "B" && c.Members == nil }},
	} {
		t.Run(name, func(t *testing.T) {
			operations, err := ParsePatch([]byte(`{"Operations":[` + c.operations + `]}`))
			if err != nil {
				t.Fatal(err)
			}
			if change, err := ParseGroupPatch(operations); err != nil || !c.want(change) {
				t.Errorf("%+v, %v", change, err)
			}
		})
	}
}

func TestFilters(t *testing.T) {
	for text, want := range map[string]Filter{
		``:                                    nil,
		`userName eq "a"`:                     {"userName": "a"},
		`USERNAME EQ "a"`:                     {"userName": "a"},
		`userName eq "j\"ü"`:                  {"userName": `j"ü`},
		`(externalId eq "x") and id eq "y"`:   {"externalId": "x", "id": "y"},
		`emails.value eq "a@b"`:               {"emails.value": "a@b"},
		`userName eq "a" and userName eq "a"`: {"userName": "a"},
		`urn:ietf:params:scim:schemas:core:2.0:User:userName eq "a"`: {"userName": "a"},
	} {
		if f, err := ParseFilter(text, "userName", "externalId", "id", "emails.value"); err != nil || !maps.Equal(f, want) {
			t.Errorf("%s: %v, %v", text, f, err)
		}
	}
	for _, text := range []string{`userName`, `userName eq`, `userName eq a`, `userName eq true`, `userName co "a"`, `title eq "a"`, `userName eq "a" or id eq "b"`, `not (userName eq "a")`,
		`userName eq "a" and userName eq "b"`, `userName pr`, `emails[value eq "a"]`, strings.Repeat("(", 400) + `id eq "a"`, `userName eq "` + strings.Repeat("a", maxFilter) + `"`} {
		var refusal *Error
		if f, err := ParseFilter(text, "userName", "externalId", "id", "emails.value"); !errors.As(err, &refusal) || refusal.Type != InvalidFilter {
			t.Errorf("%.40s: %v, %v", text, f, err)
		}
	}
}

func TestAttributesAreSelected(t *testing.T) {
	g := &Group{ID: "1", DisplayName: "a", Members: []Reference{{Value: "b"}}}
	for _, c := range []struct{ attributes, excluded, want string }{
		{"displayName", "", "displayName id schemas"},
		{"", "members,urn:ietf:params:scim:schemas:core:2.0:Group:meta", "displayName id schemas"},
		{"MEMBERS.value", "", "id members schemas"},
	} {
		text, err := json.Marshal(Select(g, c.attributes, c.excluded))
		var got map[string]any
		if err := errors.Join(err, json.Unmarshal(text, &got)); err != nil {
			t.Fatal(err)
		}
		if names := strings.Join(slices.Sorted(maps.Keys(got)), " "); names != c.want {
			t.Errorf("%+v: %s", c, names)
		}
	}
	if Wants("members", "", "members") || Wants("members", "displayName", "") || !Wants("members", "", "meta") {
		t.Error("members are wanted where they are not, or not where they are")
	}
}

func FuzzPatch(f *testing.F) {
	f.Add(`{"Operations":[{"op":"Replace","path":"emails[type eq \"work\"].value","value":"a"}]}`)
	f.Add(`{"Operations":[{"op":"add","value":{"name":null,"members":[{}]}}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		operations, err := ParsePatch([]byte(body))
		if err != nil {
			return
		}
		u := &User{UserName: "a"}
		if u.Patch(operations) == nil && u.UserName == "" {
			t.Error("a user without a name")
		}
		if c, err := ParseGroupPatch(operations); err == nil && c.DisplayName != nil && *c.DisplayName == "" {
			t.Error("a group without a name")
		}
	})
}

func FuzzFilter(f *testing.F) {
	f.Add(`userName eq "a" and (id eq "b")`)
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := ParseFilter(text, "userName", "id"); err == nil && len(got) == 0 && text != "" {
			t.Errorf("%q chooses everything", text)
		}
	})
}
