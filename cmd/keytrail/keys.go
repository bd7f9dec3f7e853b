package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// key is a key as the service shows it.
type key struct {
	ID         string            `json:"id"`
	OrgID      *string           `json:"org_id"`
	Keyspace   string            `json:"keyspace"`
	Name       string            `json:"name"`
	Prefix     string            `json:"prefix"`
	Owner      string            `json:"owner"`
	Scopes     []string          `json:"scopes"`
	Status     string            `json:"status"`
	CreatedAt  time.Time         `json:"created_at"`
	CreatedBy  string            `json:"created_by"`
	ExpiresAt  *time.Time        `json:"expires_at"`
	LastUsedAt *time.Time        `json:"last_used_at"`
	RevokedAt  *time.Time        `json:"revoked_at"`
	RevokedBy  *string           `json:"revoked_by"`
	Reason     *string           `json:"revocation_reason"`
	RateLimits []any             `json:"rate_limits"`
	CIDRs      []string          `json:"allowed_cidrs"`
	Metadata   map[string]string `json:"metadata"`
	Revision   uint64            `json:"revision"`
}

func (k key) row() []string {
	return []string{k.ID, k.Prefix + "…", k.Status, orDash(k.Owner), when(k.ExpiresAt), when(k.LastUsedAt), k.Name}
}

const keyHeading = "ID PREFIX STATUS OWNER EXPIRES LAST_USED NAME"

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func when(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Format("2006-01-02T15:04:05Z")
}

func keysCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "keys", Short: "Create, list and change keys"}
	cmd.AddCommand(createCommand(c), listCommand(c), getCommand(c), updateCommand(c), rotateCommand(c), revokeCommand(c),
		switchCommand(c, "disable", "Take a key out of use"), switchCommand(c, "enable", "Put a disabled key back into use"), importCommand(c), exportCommand(c))
	return cmd
}

// settings are the flags that say what a key may do.
type settings struct {
	org, keyspace, name, owner, ttl, expires string
	scopes, cidrs, limits                    []string
	metadata                                 map[string]string
}

func (s *settings) flags(f *pflag.FlagSet) {
	f.StringVar(&s.name, "name", "", "what the key is called")
	f.StringVar(&s.owner, "owner", "", "whose key it is: any id of yours")
	f.StringSliceVar(&s.scopes, "scope", nil, "what it may do, like invoices:read; may be repeated")
	f.StringVar(&s.expires, "expires-at", "", "when it ends, like 2027-01-31T12:00:00Z")
	f.StringSliceVar(&s.cidrs, "allow", nil, "network it may be used from; may be repeated")
	f.StringSliceVar(&s.limits, "limit", nil, "rate limit, like 100/1m; may be repeated")
	f.StringToStringVar(&s.metadata, "metadata", nil, "names and values of yours, like plan=pro")
}

// body has what was said, under the names of the API.
func (s *settings) body(f *pflag.FlagSet) (map[string]any, error) {
	body := map[string]any{}
	for flag, member := range map[string]struct {
		name  string
		value any
	}{"org": {"org_id", s.org}, "keyspace": {"keyspace", s.keyspace}, "name": {"name", s.name}, "owner": {"owner", s.owner}, "scope": {"scopes", s.scopes},
		"ttl": {"ttl", s.ttl}, "expires-at": {"expires_at", s.expires}, "allow": {"allowed_cidrs", s.cidrs}, "metadata": {"metadata", s.metadata}} {
		if f.Changed(flag) {
			body[member.name] = member.value
		}
	}
	var limits []map[string]any
	for _, l := range s.limits {
		count, window, ok := strings.Cut(l, "/")
		n, err := strconv.ParseInt(count, 10, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("--limit: %q is not like 100/1m", l)
		}
		limits = append(limits, map[string]any{"limit": n, "window": window})
	}
	if limits != nil {
		body["rate_limits"] = limits
	}
	return body, nil
}

func createCommand(c *client) *cobra.Command {
	var s settings
	cmd := &cobra.Command{Use: "create", Short: "Create a key and print its secret, this once", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := s.body(cmd.Flags())
			if err != nil {
				return err
			}
			return c.secret(cmd, "/v1/keys", body)
		}}
	s.flags(cmd.Flags())
	cmd.Flags().StringVar(&s.org, "org", "", "the organization that it belongs to")
	cmd.Flags().StringVar(&s.keyspace, "keyspace", "", "default, or keytrail for a management key")
	cmd.Flags().StringVar(&s.ttl, "ttl", "", "how long it is good, like 24h")
	return cmd
}

// secret makes a request that answers a key and its secret.
func (c *client) secret(cmd *cobra.Command, path string, body any) error {
	var a struct {
		Key    key    `json:"key"`
		Secret string `json:"secret"`
	}
	if err := c.call(cmd.Context(), http.MethodPost, path, nil, body, &a); err != nil {
		return err
	}
	if a.Secret == "" {
		return &problem{Code: "secret_lost", Detail: "the answer with the secret of " + a.Key.ID + " was lost on its way; get a new one with keytrail keys rotate " + a.Key.ID}
	}
	return c.show(cmd, a, func(w io.Writer) {
		table(w, keyHeading, [][]string{a.Key.row()})
		fmt.Fprintf(w, "\nThe secret, shown this once: %s\n", a.Secret)
	})
}

// filters are the flags that a listing, and a bulk revocation, choose keys by.
type filters struct{ values map[string]*string }

func (f *filters) flags(set *pflag.FlagSet) {
	f.values = map[string]*string{}
	for name, help := range map[string]string{
		"org": "of this organization", "keyspace": "of this keyspace", "status": "active, disabled, expired or revoked", "owner": "of this owner",
		"scope": "that list this scope", "name": "whose name begins so", "prefix": "whose secret begins so", "created-after": "created after this time",
		"last-used-before": "not used since this time", "expires-before": "that expire before this time",
	} {
		f.values[name] = set.String(name, "", "keys "+help)
	}
}

// query is the filter as the API takes it. An empty value is refused: it is a variable that
// a script forgot to set, and leaving it out would choose more keys than were meant.
func (f *filters) query(set *pflag.FlagSet) (q url.Values, err error) {
	q = url.Values{}
	for name, v := range f.values {
		switch {
		case *v == "" && set.Changed(name):
			return nil, fmt.Errorf("--%s is empty; leave it out if it is not to matter", name)
		case *v != "" && name == "org":
			q.Set("org_id", *v)
		case *v != "":
			q.Set(strings.ReplaceAll(name, "-", "_"), *v)
		}
	}
	return q, nil
}

func listCommand(c *client) *cobra.Command {
	var f filters
	var sort string
	var limit int
	var all bool
	cmd := &cobra.Command{Use: "list", Short: "List keys", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		if limit < 1 {
			return fmt.Errorf("--limit %d: list one key at least, or --all", limit)
		}
		if all {
			limit = math.MaxInt
		}
		q, err := f.query(cmd.Flags())
		if err != nil {
			return err
		}
		q.Set("sort", sort)
		keys, more, err := c.listKeys(cmd, q, limit)
		if err != nil {
			return err
		}
		if more {
			fmt.Fprintf(c.errs, "keytrail: there are more keys than these %d; --all lists them, --limit so many\n", len(keys))
		}
		return c.show(cmd, keys, func(w io.Writer) {
			var rows [][]string
			for _, k := range keys {
				rows = append(rows, k.row())
			}
			table(w, keyHeading, rows)
		})
	}}
	f.flags(cmd.Flags())
	cmd.Flags().StringVar(&sort, "sort", "-created_at", "created_at, last_used_at, name or expires_at; - before it: descending")
	cmd.Flags().IntVar(&limit, "limit", 50, "how many at most")
	cmd.Flags().BoolVar(&all, "all", false, "all of them")
	cmd.MarkFlagsMutuallyExclusive("all", "limit")
	return cmd
}

// listKeys gives up to limit keys, and tells whether there are more.
func (c *client) listKeys(cmd *cobra.Command, q url.Values, limit int) (keys []key, more bool, err error) {
	for keys = []key{}; ; {
		q.Set("limit", strconv.Itoa(min(1000, max(limit-len(keys), 1)))) // when they are full, one more
		var page struct {
			Items []key   `json:"items"`
			Next  *string `json:"next_cursor"`
		}
		if err := c.call(cmd.Context(), http.MethodGet, "/v1/keys", q, nil, &page); err != nil {
			return nil, false, err
		}
		if keys = append(keys, page.Items...); len(keys) > limit {
			return keys[:limit], true, nil
		}
		if page.Next == nil {
			return keys, false, nil
		}
		q.Set("cursor", *page.Next)
	}
}

// one makes a request about one key and shows it.
func (c *client) one(cmd *cobra.Command, method, path string, body any) error {
	var k key
	if err := c.call(cmd.Context(), method, path, nil, body, &k); err != nil {
		return err
	}
	return c.show(cmd, k, func(w io.Writer) {
		table(w, keyHeading, [][]string{k.row()})
		if cmd.Name() == "get" {
			fmt.Fprintf(w, "\nkeyspace  %s\nscopes    %s\nallowed   %s\nrevision  %d\n", k.Keyspace, strings.Join(k.Scopes, " "), orDash(strings.Join(k.CIDRs, " ")), k.Revision)
		}
	})
}

func getCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "get KEY_ID", Short: "Show a key", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.one(cmd, http.MethodGet, "/v1/keys/"+url.PathEscape(args[0]), nil)
		}}
}

func updateCommand(c *client) *cobra.Command {
	var s settings
	cmd := &cobra.Command{Use: "update KEY_ID", Short: "Change what a key may do", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := s.body(cmd.Flags())
			if err != nil {
				return err
			}
			if s.expires == "never" {
				body["expires_at"] = nil
			}
			return c.one(cmd, http.MethodPatch, "/v1/keys/"+url.PathEscape(args[0]), body)
		}}
	s.flags(cmd.Flags())
	cmd.Flags().Lookup("expires-at").Usage += ", or never"
	return cmd
}

func rotateCommand(c *client) *cobra.Command {
	var overlap string
	cmd := &cobra.Command{Use: "rotate KEY_ID", Short: "Give a key a new secret and print it, this once", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.secret(cmd, "/v1/keys/"+url.PathEscape(args[0])+"/rotate", map[string]string{"overlap": overlap})
		}}
	cmd.Flags().StringVar(&overlap, "overlap", "0s", "how long the old secret stays good, like 24h")
	return cmd
}

func switchCommand(c *client, verb, short string) *cobra.Command {
	return &cobra.Command{Use: verb + " KEY_ID", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.one(cmd, http.MethodPost, "/v1/keys/"+url.PathEscape(args[0])+"/"+verb, nil)
		}}
}

// broad tells whether a filter chooses no key in particular.
func broad(q url.Values) bool {
	for name := range q {
		if !slices.Contains([]string{"org_id", "status", "keyspace"}, name) {
			return false
		}
	}
	return true
}

func revokeCommand(c *client) *cobra.Command {
	var f filters
	var reason, comment string
	var all, dryRun, yes bool
	cmd := &cobra.Command{Use: "revoke [KEY_ID…]", Short: "Revoke keys for good",
		Long: `Revoke the keys that are named, or all that the filters choose, a thousand at a time.
It is safe to interrupt and to repeat: revoking a revoked key changes nothing.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := f.query(cmd.Flags())
			if err != nil {
				return err
			}
			filtered := len(q) > 0 || all
			switch {
			case all && !broad(q):
				return errors.New("--all means every key; only --org, --status and --keyspace can stand beside it")
			case !all && len(q) > 0 && broad(q):
				return errors.New("say --all to revoke all keys of an organization, or choose some of them")
			case filtered == (len(args) > 0):
				return errors.New("name keys, or choose them by a filter")
			case len(args) == 1 && !dryRun:
				return c.one(cmd, http.MethodPost, "/v1/keys/"+url.PathEscape(args[0])+"/revoke", map[string]string{"reason": reason, "comment": comment})
			}
			body := map[string]any{"reason": reason, "comment": comment, "dry_run": dryRun}
			if len(args) > 0 {
				body["ids"] = args
			} else {
				filter := map[string]any{}
				for name := range q {
					filter[name] = q.Get(name)
				}
				if all {
					filter["all"] = true
				}
				body["filter"], body["cursor"] = filter, "start"
			}
			if filtered && !dryRun && !yes {
				if err := c.confirm(cmd, body); err != nil {
					return err
				}
			}
			return c.revokeAll(cmd, body)
		}}
	f.flags(cmd.Flags())
	cmd.Flags().StringVar(&reason, "reason", "unspecified", "unspecified, key_compromise, superseded, affiliation_changed, privilege_withdrawn or cessation_of_operation")
	cmd.Flags().StringVar(&comment, "comment", "", "a line for the audit trail")
	cmd.Flags().BoolVar(&all, "all", false, "all keys of --org, or of the organization of the key that asks, with --status and --keyspace if given; that key itself is left out")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "count, and change nothing")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

type revoked struct {
	Revoked        int              `json:"revoked"`
	AlreadyRevoked int              `json:"already_revoked"`
	Failed         []map[string]any `json:"failed"`
	DryRun         bool             `json:"dry_run"`
	NextCursor     *string          `json:"next_cursor"`
}

// revokeAll goes on from page to page until all are revoked.
func (c *client) revokeAll(cmd *cobra.Command, body map[string]any) error {
	sum, err := c.revokePages(cmd, body)
	if err != nil {
		return fmt.Errorf("%w; %d or more are revoked, repeat the command to go on", err, sum.Revoked)
	}
	err = c.show(cmd, sum, func(w io.Writer) {
		verb := "revoked"
		if sum.DryRun {
			verb = "would revoke"
		}
		fmt.Fprintf(w, "%s %d, already revoked %d, failed %d\n", verb, sum.Revoked, sum.AlreadyRevoked, len(sum.Failed))
	})
	if err == nil && len(sum.Failed) > 0 {
		err = &problem{Code: fmt.Sprint(sum.Failed[0]["code"]), Detail: fmt.Sprintf("%d keys were not revoked; the first: %v", len(sum.Failed), sum.Failed[0]["detail"])}
	}
	return err
}

func (c *client) revokePages(cmd *cobra.Command, body map[string]any) (sum revoked, err error) {
	sum.Failed = []map[string]any{}
	bar := progress(cmd, -1, "revoking")
	defer bar.Close()
	for {
		var page revoked
		if err := c.call(cmd.Context(), http.MethodPost, "/v1/keys/revoke", nil, body, &page); err != nil {
			return sum, err
		}
		sum.Revoked, sum.AlreadyRevoked, sum.DryRun = sum.Revoked+page.Revoked, sum.AlreadyRevoked+page.AlreadyRevoked, page.DryRun
		sum.Failed = append(sum.Failed, page.Failed...)
		_ = bar.Add(page.Revoked + page.AlreadyRevoked)
		if page.NextCursor == nil || *page.NextCursor == body["cursor"] { // it stands still where keys failed
			return sum, nil
		}
		body["cursor"] = *page.NextCursor
	}
}

// confirm asks a person on a terminal; a script says --yes.
func (c *client) confirm(cmd *cobra.Command, body map[string]any) error {
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return errors.New("revoking by a filter needs --yes where nobody can be asked; --dry-run counts first")
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Revoke for good all keys with %v? Type yes: ", body["filter"])
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err == nil && strings.TrimSpace(answer) != "yes" {
		err = errors.New("nothing was revoked")
	}
	return err
}

// progress is a bar on a terminal, and nothing elsewhere.
func progress(cmd *cobra.Command, total int64, what string) *progressbar.ProgressBar {
	f, ok := cmd.ErrOrStderr().(*os.File)
	return progressbar.NewOptions64(total, progressbar.OptionSetWriter(cmd.ErrOrStderr()), progressbar.OptionSetDescription(what),
		progressbar.OptionSetVisibility(ok && term.IsTerminal(int(f.Fd()))), progressbar.OptionShowCount(), progressbar.OptionClearOnFinish())
}
