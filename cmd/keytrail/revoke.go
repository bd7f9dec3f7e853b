package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/keytrail/keytrail/domain"
)

// A revocation is what the command line was asked to revoke.
type revocation struct {
	ids              []string
	filter           url.Values
	all, dryRun, yes bool
	reason, comment  string
}

func revokeCommand(c *client) *cobra.Command {
	var r revocation
	cmd := &cobra.Command{Use: "revoke [KEY_ID…]", Short: "Revoke keys for good",
		Long: `Revoke the keys that are named, or all that the filters choose, ten thousand at a time.
It is safe to interrupt and to repeat: revoking a revoked key changes nothing.`}
	filter := filterFlags(cmd.Flags())
	cmd.Flags().StringVar(&r.reason, "reason", "unspecified", oneOf(domain.Reasons))
	cmd.Flags().StringVar(&r.comment, "comment", "", "a line for the audit trail")
	cmd.Flags().BoolVar(&r.all, "all", false, "all keys of --org, or of the organization of the key that asks, with --status and --keyspace if given; that key itself is left out")
	cmd.Flags().BoolVar(&r.dryRun, "dry-run", false, "count, and change nothing")
	cmd.Flags().BoolVar(&r.yes, "yes", false, "do not ask")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		r.ids = args
		if r.filter, err = filter.query(); err != nil {
			return err
		}
		if err := r.check(); err != nil {
			return err
		}
		if len(r.ids) == 1 && !r.dryRun {
			return c.one(cmd, http.MethodPost, "/v1/keys/"+url.PathEscape(r.ids[0])+"/revoke", map[string]string{"reason": r.reason, "comment": r.comment})
		}
		body := r.body()
		if r.filtered() && !r.dryRun && !r.yes {
			if err := c.confirm(cmd, body); err != nil {
				return err
			}
		}
		return c.revokeAll(cmd, body)
	}
	return cmd
}

func (r *revocation) filtered() bool { return len(r.filter) > 0 || r.all }

// check refuses what would revoke more keys than were meant.
func (r *revocation) check() error {
	switch {
	case r.all && !r.broad():
		return errors.New("--all means every key; only --org, --status and --keyspace can stand beside it")
	case !r.all && len(r.filter) > 0 && r.broad():
		return errors.New("say --all to revoke all keys of an organization, or choose some of them")
	case r.filtered() == (len(r.ids) > 0):
		return errors.New("name keys, or choose them by a filter")
	}
	return nil
}

// broad reports whether the filter chooses no key in particular.
func (r *revocation) broad() bool {
	for name := range r.filter {
		if !slices.Contains([]string{"org_id", "status", "keyspace"}, name) {
			return false
		}
	}
	return true
}

// body asks for all of it at once.
func (r *revocation) body() map[string]any {
	body := map[string]any{"reason": r.reason, "comment": r.comment, "dry_run": r.dryRun}
	if len(r.ids) > 0 {
		body["ids"] = r.ids
		return body
	}
	filter := map[string]any{}
	for name := range r.filter {
		filter[name] = r.filter.Get(name)
	}
	if r.all {
		filter["all"] = true
	}
	body["filter"], body["cursor"] = filter, "start"
	return body
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
		// With an Idempotency-Key the service would look for it in the history of each key. Without
		// it, keys of a page whose answer was lost count as already revoked.
		if err := c.callOnce(cmd.Context(), "", http.MethodPost, "/v1/keys/revoke", nil, body, &page); err != nil {
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
