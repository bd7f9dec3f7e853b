package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/spf13/cobra"

	"github.com/keytrail/keytrail/api"
)

func ssoCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "sso", Short: "Read and change the single sign-on of organizations"}
	cmd.AddCommand(showSSOCommand(c), setSSOCommand(c), removeSSOCommand(c))
	return cmd
}

func showSSOCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "show ORG", Short: "Show by which provider an organization's people log in", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.sso(cmd, http.MethodGet, args[0], nil) }}
}

func setSSOCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "set ORG FILE", Short: "Give an organization single sign-on, or another one", Args: cobra.ExactArgs(2),
		Long: "FILE has the JSON that PUT /v1/organizations/{org}/sso takes; -: standard input.",
		RunE: func(cmd *cobra.Command, args []string) error {
			read := func() ([]byte, error) { return os.ReadFile(args[1]) }
			if args[1] == "-" {
				read = func() ([]byte, error) { return io.ReadAll(cmd.InOrStdin()) }
			}
			text, err := read()
			if err != nil {
				return err
			}
			return c.sso(cmd, http.MethodPut, args[0], json.RawMessage(text))
		}}
}

func removeSSOCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "remove ORG", Short: "End the single sign-on of an organization, and its sessions", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.call(cmd.Context(), http.MethodDelete, ssoPath(args[0]), nil, nil, nil)
		}}
}

func ssoPath(org string) string { return "/v1/organizations/" + url.PathEscape(org) + "/sso" }

func (c *client) sso(cmd *cobra.Command, method, org string, body any) error {
	var s api.SSO
	if err := c.call(cmd.Context(), method, ssoPath(org), nil, body, &s); err != nil {
		return err
	}
	return c.show(cmd, s, func(w io.Writer) {
		fmt.Fprintf(w, "issuer %s, client %s, enforced %t\n", s.Issuer, s.ClientID, s.Enforced)
		if s.RedirectURI != nil {
			fmt.Fprintln(w, "redirect URI", *s.RedirectURI)
		}
	})
}
