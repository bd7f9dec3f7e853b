package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keytrail/keytrail/api"
)

const formerKeyHeading = "ID PREFIX STATUS OWNER EXPIRES SCOPES NAME"

func formerKeyRow(k api.Key) []string {
	return []string{string(k.ID), k.Prefix + "…", string(k.Status), orDash(k.Owner), when(k.ExpiresAt), orDash(strings.Join(k.Scopes, ",")), k.Name}
}

func auditStateCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "state --at TIME|POSITION [KEY_ID]", Short: "Tell which keys there were at a past moment, and what they could do", Args: cobra.MaximumNArgs(1),
		Long: `Tell which keys there were at a past moment, and what they could do: what keys list said
then, or would have said of one key.

A TIME, like 2026-01-31T12:00:00Z, finds the last event that was stored by then. A POSITION of the
ledger is exact: each event has one, and so has the answer of each write.`}
	filter := pastFilterFlags(cmd.Flags())
	at := cmd.Flags().String("at", "", "the moment")
	sort := cmd.Flags().String("sort", "-created_at", "created_at, name or expires_at; - before it: descending")
	most := limitFlags(cmd, 50)
	_ = cmd.MarkFlagRequired("at") // which there is
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		limit, err1 := most()
		q, err2 := filter.query()
		if err := cmp.Or(err1, err2); err != nil {
			return err
		}
		if *at == "" { // a variable that was not set: the answer would be of today
			return errors.New("--at names no moment")
		}
		if len(args) == 1 {
			if len(q) > 0 {
				return errors.New("a key that is named takes no filters")
			}
			return c.formerKey(cmd, args[0], *at)
		}
		q.Set("at", *at)
		q.Set("sort", *sort)
		keys, more, err := c.listKeys(cmd, q, limit)
		if err != nil {
			return err
		}
		if more {
			fmt.Fprintf(c.errs, "keytrail: there were more keys than these %d; --all lists them, --limit so many\n", len(keys))
		}
		return c.showFormer(cmd, keys, keys)
	}
	return cmd
}

func (c *client) formerKey(cmd *cobra.Command, id, at string) error {
	var k api.Key
	if err := c.call(cmd.Context(), http.MethodGet, "/v1/keys/"+url.PathEscape(id), url.Values{"at": {at}}, nil, &k); err != nil {
		return err
	}
	return c.showFormer(cmd, k, []api.Key{k})
}

func (c *client) showFormer(cmd *cobra.Command, answer any, keys []api.Key) error {
	return c.show(cmd, answer, func(w io.Writer) {
		var rows [][]string
		for _, k := range keys {
			rows = append(rows, formerKeyRow(k))
		}
		table(w, formerKeyHeading, rows)
	})
}
