package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/keytrail/keytrail/api"
	"github.com/spf13/cobra"
)

func invitationsCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "invitations", Short: "Invite people to organizations, and list and revoke invitations"}
	cmd.AddCommand(createInvitationCommand(c),
		&cobra.Command{Use: "list ORG_ID", Short: "List the invitations of an organization", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			all, err := listAll[api.Invitation](cmd, c, orgPath(args[0], "invitations"), url.Values{})
			if err != nil {
				return err
			}
			return c.show(cmd, all, func(w io.Writer) { showInvitations(w, all) })
		}},
		&cobra.Command{Use: "token ORG_ID INVITATION_ID", Short: "Make a token to send to the invited address, in place of the one before", Args: cobra.ExactArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
			return c.invitation(cmd, orgPath(args[0], "invitations", args[1], "token"), nil)
		}},
		&cobra.Command{Use: "revoke ORG_ID INVITATION_ID", Short: "Take an invitation back", Args: cobra.ExactArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
			return c.remove(cmd, orgPath(args[0], "invitations", args[1]), "revoked "+args[1])
		}})
	return cmd
}

func createInvitationCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "create ORG_ID EMAIL ROLE", Short: "Invite an address to become a member", Args: cobra.ExactArgs(3)}
	ttl := cmd.Flags().String("ttl", "", "how long the invitation is good, like 168h")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body := map[string]string{"email": args[1], "role": args[2]}
		if *ttl != "" {
			body["ttl"] = *ttl
		}
		return c.invitation(cmd, orgPath(args[0], "invitations"), body)
	}
	return cmd
}

// invitation makes a request whose answer is an invitation and perhaps its token.
func (c *client) invitation(cmd *cobra.Command, path string, body any) error {
	var a struct {
		Invitation api.Invitation `json:"invitation"`
		Token      *string        `json:"token"`
	}
	if err := c.call(cmd.Context(), http.MethodPost, path, nil, body, &a); err != nil {
		return err
	}
	return c.show(cmd, a, func(w io.Writer) {
		showInvitations(w, []api.Invitation{a.Invitation})
		if a.Token != nil {
			fmt.Fprintf(w, "\ntoken, shown once, for the invited address alone: %s\n", *a.Token)
		}
	})
}

func showInvitations(w io.Writer, all []api.Invitation) {
	var rows [][]string
	for _, i := range all {
		rows = append(rows, []string{string(i.ID), i.Role, i.ExpiresAt.Format("2006-01-02T15:04:05Z"), strconv.FormatBool(i.HasToken), i.Email})
	}
	table(w, "ID ROLE EXPIRES TOKEN EMAIL", rows)
}
