package domain

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

var (
	noon     = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	tenant   = Principal{ID: "key_tenant", Org: NewOrgID("tenant"), Scopes: []string{"*"}}
	operator = Principal{ID: "key_operator", Org: Installation, Scopes: []string{"*"}}
)

func definition(f Format) KeyspaceDefinition { return KeyspaceDefinition{Format: f} }

func TestKeyspaceLife(t *testing.T) {
	none := NewKeyspaces(nil)
	define := func(k Keyspace, name string, f Format, by Principal) (Event, error) {
		return k.Put(DefineKeyspace{Name: name, Definition: definition(f), Others: none, At: noon, By: by})
	}
	var k Keyspace
	if _, err := define(k, "pingd", someFormats[1], tenant); !errors.Is(err, ErrOutOfReach) {
		t.Errorf("an organization defines a keyspace: %v", err)
	}
	if _, err := define(k, "mine", someFormats[0], operator); !errors.Is(err, ErrKeyspaceOverlaps) {
		t.Errorf("the format of another keyspace: %v", err)
	}
	if _, err := define(k, ManagementKeyspace, someFormats[1], operator); !errors.Is(err, ErrKeyspaceProtected) {
		t.Errorf("the management keyspace is changed: %v", err)
	}
	e, err := define(k, "pingd", someFormats[1], operator)
	if err != nil {
		t.Fatal(err)
	}
	k.Apply(e)
	if e, err := define(k, "pingd", someFormats[1], operator); e != nil || err != nil {
		t.Errorf("the same again: %v, %v", e, err)
	}
	if e, err = define(k, "pingd", someFormats[4], operator); err != nil {
		t.Fatal(err)
	}
	k.Apply(e)
	old, now := someFormats[1].Shapes()[0], someFormats[4].Shapes()[0]
	all := NewKeyspaces([]Keyspace{k})
	for _, s := range []*Shape{&old, &now} {
		text := s.Mint(make([]byte, s.RandomBytes())).Reveal()
		if !all.Possible("pingd", text) || !all.Possible("", text) || all.Possible(DefaultKeyspace, text) {
			t.Errorf("whether %q is possible", text)
		}
	}
	if NewKeyspaces([]Keyspace{k}, DefaultKeyspace).Possible("pingd", "something") {
		t.Error("imported keys of another keyspace open this one")
	}
	if all := NewKeyspaces([]Keyspace{k}, "pingd"); !all.Possible("pingd", "something") || !all.Possible("", "something") || all.Possible(ManagementKeyspace, "something") {
		t.Error("an imported secret is refused by its shape, or a management key's is not")
	}
}

func TestTheDefaultKeyspaceCanBeChanged(t *testing.T) {
	var k Keyspace
	e, err := k.Update(DefineKeyspace{Name: DefaultKeyspace, Definition: definition(someFormats[1]), Others: NewKeyspaces(nil), By: operator})
	if err != nil {
		t.Fatal(err)
	}
	k.Apply(e)
	if len(k.Former) != 1 || k.Former[0].Prefix != "kt_live_" {
		t.Errorf("former formats are %v", k.Former)
	}
	if e, err = k.Retire(RetireKeyspace{Name: DefaultKeyspace, At: noon, By: operator}); err != nil || e == nil {
		t.Fatal(e, err)
	}
	k.Apply(e)
	if e, err = k.Retire(RetireKeyspace{Name: DefaultKeyspace, At: noon, By: operator}); e != nil || err != nil || !k.Retired() {
		t.Error("retired again", e, err)
	}
	if e, _ = k.Reinstate(RetireKeyspace{Name: DefaultKeyspace, At: noon, By: operator}); e != nil {
		k.Apply(e)
	}
	if k.Retired() {
		t.Error("it is still retired")
	}
}

func TestHeadsMayBeginWithOneAnother(t *testing.T) {
	k := Keyspace{Name: "pingd", KeyspaceDefinition: definition(Format{Prefix: "pk_", Alphabet: Base62, Length: 37})}
	k.Former = []Format{{Alphabet: Base62, Length: 40}, {Prefix: "pk_live_", Alphabet: Base62, Length: 32}}
	all := NewKeyspaces([]Keyspace{k})
	for _, f := range append(k.Former, k.Format) {
		s := f.Shapes()[0]
		if text := s.Mint(make([]byte, s.RandomBytes())).Reveal(); !all.Possible("pingd", text) || !all.Possible("", text) || all.Possible(DefaultKeyspace, text) {
			t.Errorf("whether %q is possible", text)
		}
	}
}

// BenchmarkPossible refuses a text by its shape where there are as many as can be.
func BenchmarkPossible(b *testing.B) {
	format := func(i, j int) (f Format) {
		f = Format{Prefix: fmt.Sprintf("k%03d_%02d_", i, j), Alphabet: Base62, Length: 32, Checksum: CRC32}
		for e := range 10 {
			f.Environments = append(f.Environments, Environment{Name: "e" + itoa(e), Tag: itoa(e)})
		}
		return f
	}
	defined := make([]Keyspace, maxKeyspaces-2)
	for i := range defined {
		defined[i] = Keyspace{Name: "k" + itoa(i), KeyspaceDefinition: definition(format(i, maxFormerFormats))}
		for j := range maxFormerFormats {
			defined[i].Former = append(defined[i].Former, format(i, j))
		}
	}
	all, last := NewKeyspaces(defined), defined[len(defined)-1].Format.Shapes()[9]
	text := last.Head + strings.Repeat("0", last.Size()-len(last.Head))
	for b.Loop() {
		if all.Possible("", text) {
			b.Fatal("the checksum is right")
		}
	}
}

func TestAFormatThatComesAgainIsFormerNoMore(t *testing.T) {
	var k Keyspace
	for i := range 2*maxFormerFormats + 3 {
		f := Format{Prefix: []string{"a_", "b_"}[i%2], Alphabet: Hex, Length: 32}
		e, err := k.Put(DefineKeyspace{Name: "acme", Definition: definition(f), Others: NewKeyspaces(nil), At: noon, By: operator})
		if err != nil {
			t.Fatal(i, err)
		}
		k.Apply(e)
	}
	if len(k.Former) != 1 || k.Former[0].Prefix != "b_" {
		t.Errorf("former formats are %v", k.Former)
	}
}
