package domain

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// A Difference is a field of a keyspace, or of a plan, that another definition has otherwise. nil: it
// has none.
type Difference struct {
	Field  string `json:"field"`
	Before any    `json:"before"`
	After  any    `json:"after"`
}

// Differences are those between the keyspace and a definition; none if the keyspace is new.
func (k Keyspace) Differences(name string, d KeyspaceDefinition) []Difference {
	k = k.OrBuiltIn(name)
	if k.Name == "" {
		return nil
	}
	return jsonDifferences(k.canonical(), d.canonical())
}

// jsonDifferences are those of two texts of JSON.
func jsonDifferences(before, after []byte) []Difference {
	var b, a any
	_, _ = json.Unmarshal(before, &b), json.Unmarshal(after, &a) // which are JSON
	return differences("", b, a)
}

// differences are those of two JSON values at a path.
func differences(path string, before, after any) []Difference {
	if reflect.DeepEqual(before, after) {
		return nil
	}
	b, ok1 := members(before)
	a, ok2 := members(after)
	if !ok1 || !ok2 || len(b) == 0 || len(a) == 0 {
		return []Difference{{path, before, after}}
	}
	var all []Difference
	names := maps.Clone(b)
	maps.Copy(names, a)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		all = append(all, differences(strings.TrimPrefix(path+name, "."), b[name], a[name])...)
	}
	if all == nil { // the order alone
		all = []Difference{{path, order(before), order(after)}}
	}
	return all
}

// identities are the members that tell the entries of a list apart.
var identities = []string{"scope", "name", "window", "attribute", "for", "role"}

// members are those of an object, and the entries of a list of objects by what tells them
// apart, as they continue a path. ok is false for all else, and if two entries are alike.
func members(v any) (all map[string]any, ok bool) {
	all = map[string]any{}
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			all["."+name] = member
		}
		return all, true
	case []any:
		for _, entry := range v {
			id, ok := identity(entry)
			if !ok || all[id] != nil {
				return nil, false
			}
			all[id] = entry
		}
		return all, true
	}
	return nil, false
}

func identity(entry any) (string, bool) {
	object, _ := entry.(map[string]any)
	for _, name := range identities {
		switch id := object[name].(type) {
		case string:
			return "[" + id + "]", true
		case []any:
			return "[" + words(id) + "]", true
		}
	}
	return "", false
}

func words(list []any) string {
	var all []string
	for _, v := range list {
		word, _ := v.(string)
		all = append(all, word)
	}
	return strings.Join(all, " ")
}

// order is the identities of a list's entries, in its order.
func order(v any) (ids []string) {
	list, _ := v.([]any)
	for _, entry := range list {
		id, _ := identity(entry)
		ids = append(ids, strings.Trim(id, "[]"))
	}
	return ids
}
