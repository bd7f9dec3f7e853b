package domain

// A Keyspace is a family of keys with one secret format.
type Keyspace struct {
	Name   string
	Format Format
}

// The built-in keyspaces. Keys of ManagementKeyspace are the credentials for Keytrail's
// own API; they verify for a product only if it asks for that keyspace by name.
const (
	DefaultKeyspace    = "default"
	ManagementKeyspace = "keytrail"
)

var keyspaces = []Keyspace{
	{Name: DefaultKeyspace, Format: Format{Prefix: "kt_live_", Random: 32, Check: 6, Shown: 4}},
	{Name: ManagementKeyspace, Format: Format{Prefix: "kt_mgmt_", Random: 32, Check: 6, Shown: 4}},
}

// KeyspaceNamed finds a keyspace by its name.
func KeyspaceNamed(name string) (Keyspace, error) {
	for _, k := range keyspaces {
		if k.Name == name {
			return k, nil
		}
	}
	return Keyspace{}, InvalidField("keyspace", "the keyspaces are %q and %q", DefaultKeyspace, ManagementKeyspace)
}

// KeyspaceNames are the names of all keyspaces.
func KeyspaceNames() []string {
	names := make([]string, len(keyspaces))
	for i, k := range keyspaces {
		names[i] = k.Name
	}
	return names
}

// Mangled reports whether text claims a built-in format and breaks it: a typo or scanner
// noise, which no lookup can find. Text of no known format may be an imported secret.
func Mangled(text string) bool {
	for _, k := range keyspaces {
		if k.Format.claims(text) {
			return !k.Format.Intact(text)
		}
	}
	return false
}
