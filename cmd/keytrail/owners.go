package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/spf13/cobra"
)

func ownersCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "owners", Short: "Read and change the attributes of owners of keys"}
	cmd.AddCommand(ownerCommand(c), setOwnerCommand(c))
	return cmd
}

func ownerCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "get OWNER", Short: "Show the attributes of an owner", Args: cobra.ExactArgs(1)}
	flags := ownerFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.owner(cmd, flags, http.MethodGet, args[0], nil)
	}
	return cmd
}

func setOwnerCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "set OWNER [NAME=VALUE]...", Short: "Give an owner attributes, or take some away", Args: cobra.MinimumNArgs(1)}
	flags, changes := ownerFlags(cmd), attributeFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body, err := changes.body(args[1:])
		if err != nil {
			return err
		}
		return c.owner(cmd, flags, http.MethodPatch, args[0], body)
	}
	return cmd
}

func ownerFlags(cmd *cobra.Command) *queryFlags {
	q := &queryFlags{set: cmd.Flags()}
	q.text("org", "org_id", "the organization that the owner's keys belong to; left out: that of the key it is asked with")
	return q
}

func (c *client) owner(cmd *cobra.Command, flags *queryFlags, method, owner string, body any) error {
	query, err := flags.query()
	if err != nil {
		return err
	}
	var attributes map[string]string
	if err := c.call(cmd.Context(), method, "/v1/owners/"+url.PathEscape(owner)+"/attributes", query, body, &attributes); err != nil {
		return err
	}
	return c.show(cmd, attributes, func(w io.Writer) {
		for _, name := range slices.Sorted(maps.Keys(attributes)) {
			fmt.Fprintf(w, "%s=%s\n", name, attributes[name])
		}
	})
}
