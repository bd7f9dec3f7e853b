package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/internal/secretfile"
)

func logInCommand(c *client) *cobra.Command {
	var email, org, file string
	cmd := &cobra.Command{Use: "log-in", Short: "Begin a session; the password is read from standard input", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		password, err := readHidden(cmd, "password")
		if err != nil {
			return err
		}
		asked := map[string]string{"email": email, "password": password}
		if org != "" {
			asked["org_id"] = org
		}
		body, err := json.Marshal(asked)
		if err != nil {
			return err
		}
		// Not repeated if there is no answer: each log-in is another session.
		answer, err := c.sendBare(cmd.Context(), http.MethodPost, "/v1/sessions", nil, http.Header{"Content-Type": {"application/json"}}, bytes.NewReader(body))
		if err != nil {
			return err
		}
		var begun api.SessionToken
		if err := read(answer, &begun); err != nil {
			return err
		}
		return c.keepToken(cmd, file, begun)
	}}
	cmd.Flags().StringVar(&email, "email", "", "the user's e-mail address")
	cmd.Flags().StringVar(&org, "org", "", "the organization that the session is to be in; left out: the first that one is a member of")
	tokenFileFlag(cmd, &file)
	_ = cmd.MarkFlagRequired("email")
	return cmd
}

func tokenFileFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "token-file", "", "write the token to a file that only you can read; left out: print it")
}

// keepToken prints the token, or writes it to a file.
func (c *client) keepToken(cmd *cobra.Command, file string, begun api.SessionToken) error {
	if file != "" {
		if err := secretfile.Replace(file, begun.Token+"\n"); err != nil {
			return err
		}
		begun.Token = ""
	}
	return c.show(cmd, begun, func(w io.Writer) {
		if file == "" {
			fmt.Fprintln(w, begun.Token)
			return
		}
		in := "no organization"
		if begun.Org != nil {
			in = string(*begun.Org)
		}
		fmt.Fprintf(w, "logged in as %s, in %s, until %s\n", begun.User.Email, in, when(&begun.ExpiresAt))
	})
}

func switchSessionCommand(c *client) *cobra.Command {
	var file string
	cmd := &cobra.Command{Use: "switch ORG", Short: "Go on in another organization; the session before ends", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		var begun api.SessionToken
		if err := c.callOnce(cmd.Context(), "", http.MethodPost, "/v1/sessions/current/switch", nil, map[string]string{"org_id": args[0]}, &begun); err != nil {
			return err
		}
		return c.keepToken(cmd, file, begun)
	}}
	tokenFileFlag(cmd, &file)
	return cmd
}

func signOutCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "sign-out", Short: "End the session that it is asked with", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		return c.call(cmd.Context(), http.MethodDelete, "/v1/sessions/current", nil, nil, nil)
	}}
}
