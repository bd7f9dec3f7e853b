package main

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/projections"
)

const keyHeading = "ID PREFIX STATUS OWNER EXPIRES LAST_USED NAME"

func keyRow(k api.Key) []string {
	return []string{string(k.ID), k.Prefix + "…", string(k.Status), orDash(k.Owner), when(k.ExpiresAt), when(k.LastUsedAt.Time()), k.Name}
}

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
	cmd.AddCommand(createCommand(c), listCommand(c), getCommand(c), updateCommand(c), rotateCommand(c), revealCommand(c), revokeCommand(c),
		switchCommand(c, "disable", "Take a key out of use"), switchCommand(c, "enable", "Put a disabled key back into use"), importCommand(c), exportCommand(c))
	return cmd
}

// settingFlags are the flags for what the holder of a key chooses.
func settingFlags(f *pflag.FlagSet) *bodyFlags {
	b := &bodyFlags{set: f}
	b.text("name", "name", "what the key is called")
	b.text("owner", "owner", "whose key it is: any id of yours")
	b.list("scope", "scopes", "what it may do, like invoices:read; may be repeated")
	b.text("expires-at", "expires_at", "when it ends, like 2027-01-31T12:00:00Z")
	b.list("allow", "allowed_cidrs", "network it may be used from; may be repeated")
	b.limits("limit", "rate_limits", "rate limit, like 100/1m; may be repeated")
	b.pairs("metadata", "metadata", "names and values of yours, like plan=pro")
	return b
}

func createCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "create", Short: "Create a key and print its secret, this once", Args: cobra.NoArgs}
	flags := settingFlags(cmd.Flags())
	flags.text("org", "org_id", "the organization that it belongs to")
	flags.text("keyspace", "keyspace", "its keyspace; left out: default; keytrail is that of management keys")
	flags.text("environment", "environment", "of the keyspace, if it has some, like live; left out: its first")
	flags.text("ttl", "ttl", "how long it is good, like 24h")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		body, err := flags.body()
		if err != nil {
			return err
		}
		return c.secret(cmd, "/v1/keys", body)
	}
	return cmd
}

// secret makes a request that answers a key and its secret.
func (c *client) secret(cmd *cobra.Command, path string, body any) error {
	var a struct {
		Key    api.Key `json:"key"`
		Secret string  `json:"secret"`
	}
	if err := c.call(cmd.Context(), http.MethodPost, path, nil, body, &a); err != nil {
		return err
	}
	if a.Secret == "" {
		return &problem{Code: "secret_lost", Detail: "the answer with the secret of " + string(a.Key.ID) + " was lost on its way; get a new one with keytrail keys rotate " + string(a.Key.ID)}
	}
	return c.show(cmd, a, func(w io.Writer) {
		table(w, keyHeading, [][]string{keyRow(a.Key)})
		fmt.Fprintf(w, "\nThe secret, shown this once: %s\n", a.Secret)
	})
}

func listCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List keys", Args: cobra.NoArgs}
	filter := filterFlags(cmd.Flags())
	sort := cmd.Flags().String("sort", "-created_at", oneOf(projections.SortKeys)+"; - before it: descending")
	most := limitFlags(cmd, 50)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		limit, err1 := most()
		q, err2 := filter.query()
		if err := cmp.Or(err1, err2); err != nil {
			return err
		}
		q.Set("sort", *sort)
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
				rows = append(rows, keyRow(k))
			}
			table(w, keyHeading, rows)
		})
	}
	return cmd
}

// listKeys gives up to limit keys, and reports whether there are more.
func (c *client) listKeys(cmd *cobra.Command, q url.Values, limit int) (keys []api.Key, more bool, err error) {
	for keys = []api.Key{}; ; {
		q.Set("limit", strconv.Itoa(min(1000, max(limit-len(keys), 1)))) // when they are full, one more
		var page struct {
			Items []api.Key `json:"items"`
			Next  *string   `json:"next_cursor"`
		}
		if err := c.call(cmd.Context(), http.MethodGet, "/v1/keys", q, nil, &page); err != nil {
			return nil, false, err
		}
		keys = append(keys, page.Items...)
		if len(keys) > limit {
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
	var k api.Key
	if err := c.call(cmd.Context(), method, path, nil, body, &k); err != nil {
		return err
	}
	return c.show(cmd, k, func(w io.Writer) {
		table(w, keyHeading, [][]string{keyRow(k)})
		if cmd.Name() == "get" {
			fmt.Fprintf(w, "\nkeyspace  %s\nscopes    %s\nallowed   %s\nrevision  %d\n", k.Keyspace, strings.Join(k.Scopes, " "), orDash(strings.Join(k.AllowedCIDRs, " ")), k.Revision)
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
	cmd := &cobra.Command{Use: "update KEY_ID", Short: "Change what a key may do", Args: cobra.ExactArgs(1)}
	flags := settingFlags(cmd.Flags())
	cmd.Flags().Lookup("expires-at").Usage += ", or never"
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body, err := flags.body()
		if err != nil {
			return err
		}
		if body["expires_at"] == "never" {
			body["expires_at"] = nil
		}
		return c.one(cmd, http.MethodPatch, "/v1/keys/"+url.PathEscape(args[0]), body)
	}
	return cmd
}

func rotateCommand(c *client) *cobra.Command {
	var overlap string
	cmd := &cobra.Command{Use: "rotate KEY_ID", Short: "Give a key a new secret and print it, this once", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]string{}
			if overlap != "" {
				body["overlap"] = overlap
			}
			return c.secret(cmd, "/v1/keys/"+url.PathEscape(args[0])+"/rotate", body)
		}}
	cmd.Flags().StringVar(&overlap, "overlap", "", "how long the old secret stays good, like 24h; left out: as long as the keyspace demands, or not at all")
	return cmd
}

func revealCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "reveal KEY_ID", Short: "Show the secret of a key whose keyspace is recoverable", Args: cobra.ExactArgs(1),
		Long: "Show the secret of a key whose keyspace is recoverable. It takes a management key that lists the scope keys:reveal, and is an event each time.",
		RunE: func(cmd *cobra.Command, args []string) error {
			var a struct {
				Secret string `json:"secret"`
			}
			if err := c.call(cmd.Context(), http.MethodPost, "/v1/keys/"+url.PathEscape(args[0])+"/reveal", nil, nil, &a); err != nil {
				return err
			}
			return c.show(cmd, a, func(w io.Writer) { fmt.Fprintln(w, a.Secret) })
		}}
}

func switchCommand(c *client, verb, short string) *cobra.Command {
	return &cobra.Command{Use: verb + " KEY_ID", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.one(cmd, http.MethodPost, "/v1/keys/"+url.PathEscape(args[0])+"/"+verb, nil)
		}}
}
