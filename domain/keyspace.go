package domain

import (
	"slices"
	"time"
)

// A Keyspace is a family of keys with one format and one policy. The zero Keyspace has no
// history.
type Keyspace struct {
	Name string `json:"name"`
	KeyspaceDefinition
	Former    []Format  `json:"former_formats,omitempty"` // which secrets may still have
	CreatedAt time.Time `json:"created_at,omitzero"`      // zero: it is built in
	RetiredAt time.Time `json:"retired_at,omitzero"`      // zero: it is not

	places  []Place
	replies replies
}

// The built-in keyspaces. Keys of ManagementKeyspace are the credentials for Keytrail's
// own API; they verify for a product only if it asks for that keyspace by name.
const (
	DefaultKeyspace    = "default"
	ManagementKeyspace = "keytrail"
)

// builtIn is a keyspace that every installation has from its beginning.
func builtIn(name string) (Keyspace, bool) {
	prefix := map[string]string{DefaultKeyspace: "kt_live_", ManagementKeyspace: "kt_mgmt_"}[name]
	format := Format{Prefix: prefix, Alphabet: Base62, Length: 32, Checksum: CRC32, Shown: 4}
	return Keyspace{Name: name, KeyspaceDefinition: KeyspaceDefinition{Format: format, RevokeLeaked: name == ManagementKeyspace}}, prefix != ""
}

// Management is the keyspace of the keys for Keytrail's own API. It cannot be changed.
func Management() Keyspace { k, _ := builtIn(ManagementKeyspace); return k }

// OrBuiltIn is k, or what an installation has of that name from its beginning.
func (k Keyspace) OrBuiltIn(name string) Keyspace {
	if k.Name == "" {
		k, _ = builtIn(name)
		if k.Format.Prefix == "" {
			return Keyspace{}
		}
	}
	return k
}

// KeyspaceDefined began a keyspace.
type KeyspaceDefined struct {
	Name       string             `json:"name"`
	Definition KeyspaceDefinition `json:"definition"`
	Header
}

// KeyspaceUpdated gave a keyspace another definition.
type KeyspaceUpdated struct {
	Name       string             `json:"name"`
	Definition KeyspaceDefinition `json:"definition"`
	Header
}

// KeyspaceRetired ended the creation of keys in a keyspace. Those that it has go on.
type KeyspaceRetired struct {
	Name string `json:"name"`
	Header
}

// KeyspaceReinstated lets keys be created in a retired keyspace again.
type KeyspaceReinstated struct {
	Name string `json:"name"`
	Header
}

// DefineKeyspace asks for a keyspace, or for another definition of one.
type DefineKeyspace struct {
	Name       string
	Definition KeyspaceDefinition
	Others     *Keyspaces // whose formats may not overlap
	At         time.Time
	By         Principal
}

// Define decides whether the keyspace may come to be.
func (k Keyspace) Define(c DefineKeyspace) (Event, error) {
	switch k = k.OrBuiltIn(c.Name); {
	case c.By.Org != Installation:
		return nil, ErrOutOfReach
	case k.Name != "":
		return nil, ErrKeyspaceExists
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if len(c.Others.named) >= maxKeyspaces {
		return nil, ErrTooManyKeyspaces
	}
	return KeyspaceDefined{Name: c.Name, Definition: c.Definition, Header: Header{c.At, c.By.ID}}, nil
}

// Put decides whether the keyspace may be as c says, be it new or not.
func (k Keyspace) Put(c DefineKeyspace) (Event, error) {
	if k.OrBuiltIn(c.Name).Name == "" {
		return k.Define(c)
	}
	return k.Update(c)
}

// Update decides whether the keyspace may get another definition. Secrets of the formats
// that it had before stay good.
func (k Keyspace) Update(c DefineKeyspace) (Event, error) {
	k = k.OrBuiltIn(c.Name)
	if err := k.changeable(c.By); err != nil {
		return nil, err
	}
	if k.equals(c.Definition) {
		return nil, nil
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if len(k.formerBeside(c.Definition.Format)) > maxFormerFormats {
		return nil, InvalidField("format", "a keyspace can have %d formats, one after another; define another keyspace", maxFormerFormats+1)
	}
	return KeyspaceUpdated{Name: c.Name, Definition: c.Definition, Header: Header{c.At, c.By.ID}}, nil
}

// maxKeyspaces bounds the indexes that a listing of several keyspaces merges. Of keyspaces that
// are defined at the same moment some more may come to be.
const maxKeyspaces = 200

// maxFormerFormats bounds what is compared with each presented secret.
const maxFormerFormats = 20

func (c *DefineKeyspace) check() error {
	if err := c.Definition.check(); err != nil {
		return err
	}
	return c.Others.CheckOverlap(c.Name, c.Definition.Format)
}

// RetireKeyspace asks for no new keys.
type RetireKeyspace struct {
	Name string
	At   time.Time
	By   Principal
}

// Retire decides whether the keyspace may be retired.
func (k Keyspace) Retire(c RetireKeyspace) (Event, error) {
	k = k.OrBuiltIn(c.Name)
	if err := k.changeable(c.By); err != nil || k.Retired() {
		return nil, err
	}
	return KeyspaceRetired{Name: c.Name, Header: Header{c.At, c.By.ID}}, nil
}

// Reinstate decides whether the keyspace may have new keys again.
func (k Keyspace) Reinstate(c RetireKeyspace) (Event, error) {
	k = k.OrBuiltIn(c.Name)
	if err := k.changeable(c.By); err != nil || !k.Retired() {
		return nil, err
	}
	return KeyspaceReinstated{Name: c.Name, Header: Header{c.At, c.By.ID}}, nil
}

// Retired reports whether no keys are to be created in it.
func (k *Keyspace) Retired() bool { return !k.RetiredAt.IsZero() }

func (k Keyspace) changeable(p Principal) error {
	switch {
	case p.Org != Installation:
		return ErrOutOfReach
	case k.Name == "":
		return ErrNoKeyspace
	case k.Name == ManagementKeyspace:
		return ErrKeyspaceProtected
	}
	return nil
}

// Apply moves k past e. It cannot fail and must not judge: e already happened.
func (k *Keyspace) Apply(e Event) {
	switch e := e.(type) {
	case KeyspaceDefined:
		*k = Keyspace{Name: e.Name, KeyspaceDefinition: e.Definition, CreatedAt: e.At}
	case KeyspaceUpdated:
		*k = k.OrBuiltIn(e.Name)
		k.define(e.Definition)
	case KeyspaceRetired:
		*k = k.OrBuiltIn(e.Name)
		k.RetiredAt = e.At
	case KeyspaceReinstated:
		*k = k.OrBuiltIn(e.Name)
		k.RetiredAt = time.Time{}
	}
}

func (k *Keyspace) define(d KeyspaceDefinition) {
	k.Former, k.KeyspaceDefinition = k.formerBeside(d.Format), d
}

// formerBeside are the former formats if f is the present one. A format that comes again is there once, so
// that going to and fro does not use up maxFormerFormats.
func (k *Keyspace) formerBeside(f Format) []Format {
	return slices.DeleteFunc(append(slices.Clone(k.Former), k.Format), f.sameShapes)
}

// Shape is that of new secrets of a key of an environment; "": the first, if there are some.
func (k *Keyspace) Shape(environment string) (Shape, error) { return k.Format.shapeOf(environment) }

// RotatedShape is that of the next secret of a key that has an environment, which the
// keyspace's format need not have any more.
func (k *Keyspace) RotatedShape(environment string) (Shape, error) {
	s, err := k.Format.shapeOf(environment)
	for i := len(k.Former) - 1; i >= 0 && (err != nil || s.Environment != environment); i-- {
		s, err = k.Former[i].shapeOf(environment)
	}
	return s, err
}
