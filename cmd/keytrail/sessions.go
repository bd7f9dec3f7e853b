package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keytrail/keytrail/api"
)

func sessionsCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "sessions", Short: "Log in, list and end sessions of users, and rotate the key that signs them",
		Long: `A session's token is taken wherever a management key is: log in with --token-file FILE, and
give that as --key-file.`}
	cmd.AddCommand(logInCommand(c), switchSessionCommand(c), signOutCommand(c), listSessionsCommand(c), revokeSessionCommand(c), rotateSessionKeyCommand(c))
	return cmd
}

func listSessionsCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "list [USER_ID]", Short: "List one's own sessions, or those of another user", Args: cobra.MaximumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		var answer struct {
			Items []api.Session `json:"items"`
		}
		query := url.Values{}
		if len(args) == 1 {
			query.Set("user_id", args[0])
		}
		if err := c.call(cmd.Context(), http.MethodGet, "/v1/sessions", query, nil, &answer); err != nil {
			return err
		}
		return c.show(cmd, answer.Items, func(w io.Writer) { showSessions(w, answer.Items) })
	}}
}

func showSessions(w io.Writer, all []api.Session) {
	var rows [][]string
	for _, s := range all {
		org := "-"
		if s.Org != nil {
			org = string(*s.Org)
		}
		rows = append(rows, []string{string(s.ID), org, string(s.Method), s.IP, s.CreatedAt.Format(time.RFC3339), s.ExpiresAt.Format(time.RFC3339)})
	}
	table(w, "ID ORGANIZATION METHOD ADDRESS CREATED EXPIRES", rows)
}

func revokeSessionCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "revoke SESSION_ID|USER_ID", Short: "End a session, or all sessions of a user", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		id := url.PathEscape(args[0])
		if strings.HasPrefix(args[0], "user_") {
			return c.call(cmd.Context(), http.MethodPost, "/v1/users/"+id+"/sessions/revoke", nil, nil, nil)
		}
		return c.call(cmd.Context(), http.MethodDelete, "/v1/sessions/"+id, nil, nil, nil)
	}}
}

func rotateSessionKeyCommand(c *client) *cobra.Command {
	var overlap string
	cmd := &cobra.Command{Use: "rotate-key", Short: "Sign the tokens of sessions with a new key", Args: cobra.NoArgs,
		Long: `Sign the tokens of sessions with a new key, which is derived from the keyring. Tokens that
were signed before are good for the overlap; without one (0s) every session ends at once.
It needs an installation-wide key with the scope sessions:write.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var keys api.SessionKeys
			if err := c.call(cmd.Context(), http.MethodPost, "/v1/sessions/keys/rotate", nil, map[string]string{"overlap": overlap}, &keys); err != nil {
				return err
			}
			return c.show(cmd, keys, func(w io.Writer) { showSessionKeys(w, keys) })
		}}
	cmd.Flags().StringVar(&overlap, "overlap", "24h", "how long tokens that were signed before are good")
	return cmd
}

func showSessionKeys(w io.Writer, keys api.SessionKeys) {
	var rows [][]string
	for _, k := range keys.Keys {
		until := "-"
		if k.Until != nil {
			until = k.Until.Format(time.RFC3339)
		}
		rows = append(rows, []string{fmt.Sprint(k.Generation), until})
	}
	table(w, "GENERATION UNTIL", rows)
}
