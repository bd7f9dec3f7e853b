package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keytrail/keytrail/api"
)

func usersCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "users", Short: "Create, list, change and remove users"}
	cmd.AddCommand(createUserCommand(c), listUsersCommand(c), updateUserCommand(c),
		userCommand(c, http.MethodGet, "show", "", "Show a user"),
		userCommand(c, http.MethodPost, "disable", "/disable", "End a user's sessions, and refuse log-in and keys until the user is enabled"),
		userCommand(c, http.MethodPost, "enable", "/enable", "Let a disabled user in again"),
		&cobra.Command{Use: "remove USER_ID", Short: "Remove a user for good, from all organizations", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return c.remove(cmd, userPath(args[0]), "removed "+args[0])
		}})
	return cmd
}

func userPath(id string) string { return "/v1/users/" + url.PathEscape(id) }

// remove makes a request to delete something, and says so.
func (c *client) remove(cmd *cobra.Command, path, said string) error {
	if err := c.call(cmd.Context(), http.MethodDelete, path, nil, nil, nil); err != nil {
		return err
	}
	fmt.Fprintln(cmd.OutOrStdout(), said)
	return nil
}

// user makes a request whose answer is a user, which is shown.
func (c *client) user(cmd *cobra.Command, method, path string, body any) error {
	var u api.User
	if err := c.call(cmd.Context(), method, path, nil, body, &u); err != nil {
		return err
	}
	return c.show(cmd, u, func(w io.Writer) { showUsers(w, []api.User{u}) })
}

func userCommand(c *client, method, name, action, short string) *cobra.Command {
	return &cobra.Command{Use: name + " USER_ID", Short: short, Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		return c.user(cmd, method, userPath(args[0])+action, nil)
	}}
}

func createUserCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "create EMAIL", Short: "Create a user", Args: cobra.ExactArgs(1)}
	name := cmd.Flags().String("name", "", "the person's name")
	password := cmd.Flags().String("password-file", "", "file with the password, - for standard input; left out: none, until it is set by a reset")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body := map[string]string{"email": args[0], "name": *name}
		if *password != "" {
			text, err := readPassword(cmd, *password)
			if err != nil {
				return err
			}
			body["password"] = text
		}
		return c.user(cmd, http.MethodPost, "/v1/users", body)
	}
	return cmd
}

// readPassword reads a password from a file: arguments can be seen by other users of the machine.
func readPassword(cmd *cobra.Command, path string) (string, error) {
	var text []byte
	var err error
	if path == "-" {
		text, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), 1<<16))
	} else {
		text, err = os.ReadFile(path)
	}
	return strings.TrimRight(string(text), "\r\n"), err
}

func updateUserCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "update USER_ID [NAME=VALUE]...", Short: "Give a user another address or name, or other attributes", Args: cobra.MinimumNArgs(1)}
	email := cmd.Flags().String("email", "", "the new address")
	name := cmd.Flags().String("name", "", "the new name")
	changes := attributeFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body := map[string]any{}
		if cmd.Flags().Changed("email") {
			body["email"] = *email
		}
		if cmd.Flags().Changed("name") {
			body["name"] = *name
		}
		if len(args) > 1 || len(*changes.remove) > 0 || len(body) == 0 {
			attributes, err := changes.body(args[1:])
			if err != nil {
				return err
			}
			body["attributes"] = attributes
		}
		return c.user(cmd, http.MethodPatch, userPath(args[0]), body)
	}
	return cmd
}

func listUsersCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List users", Args: cobra.NoArgs}
	email := cmd.Flags().String("email", "", "the one whose address it is")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q := url.Values{"limit": {"1000"}}
		if *email != "" {
			q.Set("email", *email)
		}
		all, err := listAll[api.User](cmd, c, "/v1/users", q)
		if err != nil {
			return err
		}
		return c.show(cmd, all, func(w io.Writer) { showUsers(w, all) })
	}
	return cmd
}

// listAll reads all pages of a list.
func listAll[T any](cmd *cobra.Command, c *client, path string, q url.Values) ([]T, error) {
	all := []T{}
	for {
		var page struct {
			Items []T     `json:"items"`
			Next  *string `json:"next_cursor"`
		}
		if err := c.call(cmd.Context(), http.MethodGet, path, q, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == nil {
			return all, nil
		}
		q.Set("cursor", *page.Next)
	}
}

func showUsers(w io.Writer, all []api.User) {
	var rows [][]string
	for _, u := range all {
		rows = append(rows, []string{string(u.ID), u.CreatedAt.Format("2006-01-02T15:04:05Z"), string(u.Status), u.Email, u.Name})
	}
	table(w, "ID CREATED STATUS EMAIL NAME", rows)
}
