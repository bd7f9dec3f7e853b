package main

import (
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/keytrail/keytrail/domain"
)

// limitFlags say how many a listing prints.
func limitFlags(cmd *cobra.Command, usual int) (most func() (int, error)) {
	limit := cmd.Flags().Int("limit", usual, "how many at most")
	all := cmd.Flags().Bool("all", false, "all that match, however many")
	cmd.MarkFlagsMutuallyExclusive("all", "limit")
	return func() (int, error) {
		switch {
		case *all:
			return math.MaxInt, nil
		case *limit < 1:
			return 0, fmt.Errorf("--limit %d: list one at least, or --all", *limit)
		}
		return *limit, nil
	}
}

// bodyFlags are flags that are members of a request's body.
type bodyFlags struct {
	set     *pflag.FlagSet
	members []bodyMember
}

type bodyMember struct {
	flag, name string
	value      func() (any, error)
}

func (b *bodyFlags) add(flag, name string, value func() (any, error)) {
	b.members = append(b.members, bodyMember{flag, name, value})
}

func (b *bodyFlags) text(flag, name, help string) {
	v := b.set.String(flag, "", help)
	b.add(flag, name, func() (any, error) { return *v, nil })
}

func (b *bodyFlags) list(flag, name, help string) {
	v := b.set.StringSlice(flag, nil, help)
	b.add(flag, name, func() (any, error) { return *v, nil })
}

func (b *bodyFlags) pairs(flag, name, help string) {
	v := b.set.StringToString(flag, nil, help)
	b.add(flag, name, func() (any, error) { return *v, nil })
}

// limits are rate limits like 100/1m.
func (b *bodyFlags) limits(flag, name, help string) {
	v := b.set.StringSlice(flag, nil, help)
	b.add(flag, name, func() (any, error) {
		limits := []map[string]any{}
		for _, text := range *v {
			count, window, ok := strings.Cut(text, "/")
			n, err := strconv.ParseInt(count, 10, 64)
			if !ok || err != nil {
				return nil, fmt.Errorf("--%s: %q is not like 100/1m", flag, text)
			}
			limits = append(limits, map[string]any{"limit": n, "window": window})
		}
		return limits, nil
	})
}

// body has the members whose flags were given.
func (b *bodyFlags) body() (map[string]any, error) {
	body := map[string]any{}
	for _, m := range b.members {
		if !b.set.Changed(m.flag) {
			continue
		}
		value, err := m.value()
		if err != nil {
			return nil, err
		}
		body[m.name] = value
	}
	return body, nil
}

// queryFlags are flags that are parameters of a query.
type queryFlags struct {
	set    *pflag.FlagSet
	params []queryParam
}

type queryParam struct {
	flag, name string
	value      *string // nil: true, if the flag was given
}

func (q *queryFlags) text(flag, name, help string) {
	q.params = append(q.params, queryParam{flag, name, q.set.String(flag, "", help)})
}

// only is a flag without a value.
func (q *queryFlags) only(flag, name, help string) {
	q.set.Bool(flag, false, help)
	q.params = append(q.params, queryParam{flag: flag, name: name})
}

// query has the parameters whose flags were given. An empty value is refused: it is a
// variable that a script forgot to set, and leaving it out would choose more than was meant.
func (q *queryFlags) query() (url.Values, error) {
	values := url.Values{}
	for _, p := range q.params {
		switch {
		case !q.set.Changed(p.flag):
		case p.value == nil:
			values.Set(p.name, q.set.Lookup(p.flag).Value.String())
		case *p.value == "":
			return nil, fmt.Errorf("--%s is empty; leave it out if it is not to matter", p.flag)
		default:
			values.Set(p.name, *p.value)
		}
	}
	return values, nil
}

// filterFlags choose the keys of a listing or a bulk revocation.
func filterFlags(f *pflag.FlagSet) *queryFlags {
	q := pastFilterFlags(f)
	q.text("last-used-before", "last_used_before", "keys not used since this time")
	q.only("rotation-due", "rotation_due", "keys that should be rotated by now")
	return q
}

// pastFilterFlags choose the keys of a past moment.
func pastFilterFlags(f *pflag.FlagSet) *queryFlags {
	q := &queryFlags{set: f}
	q.text("org", "org_id", "keys of this organization")
	q.text("keyspace", "keyspace", "keys of this keyspace")
	q.text("status", "status", oneOf(domain.StateNames()))
	q.text("owner", "owner", "keys of this owner")
	q.text("scope", "scope", "keys that list this scope")
	q.text("name", "name", "keys whose name begins so")
	q.text("prefix", "prefix", "keys whose secret begins so")
	q.text("created-after", "created_after", "keys created after this time")
	q.text("expires-before", "expires_before", "keys that expire before this time")
	q.only("never-rotated", "never_rotated", "keys that still have their first secret")
	return q
}

// oneOf names the words of a closed list, for a flag's help.
func oneOf[S ~string](words []S) string {
	text := string(words[0])
	for i, w := range words[1:] {
		separator := ", "
		if i == len(words)-2 {
			separator = " or "
		}
		text += separator + string(w)
	}
	return text
}
