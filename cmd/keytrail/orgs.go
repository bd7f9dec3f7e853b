package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/keytrail/keytrail/api"
)

func orgsCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "orgs", Short: "Create, list, change and suspend organizations"}
	var one orgRequest = func(method, path string, body any) func(*cobra.Command) error {
		return func(cmd *cobra.Command) error {
			var o api.Organization
			if err := c.call(cmd.Context(), method, path, nil, body, &o); err != nil {
				return err
			}
			return c.show(cmd, o, func(w io.Writer) { showOrgs(w, []api.Organization{o}) })
		}
	}
	cmd.AddCommand(
		&cobra.Command{Use: "create NAME", Short: "Create an organization", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return one(http.MethodPost, "/v1/organizations", map[string]string{"name": args[0]})(cmd)
		}},
		&cobra.Command{Use: "get ORG_ID", Short: "Show an organization", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return one(http.MethodGet, "/v1/organizations/"+url.PathEscape(args[0]), nil)(cmd)
		}},
		&cobra.Command{Use: "rename ORG_ID NAME", Short: "Rename an organization", Args: cobra.ExactArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
			return one(http.MethodPatch, "/v1/organizations/"+url.PathEscape(args[0]), map[string]string{"name": args[1]})(cmd)
		}},
		setOrgCommand(one), updateOrgCommand(one), suspendOrgCommand(one),
		&cobra.Command{Use: "resume ORG_ID", Short: "End the suspension of an organization", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return one(http.MethodPost, "/v1/organizations/"+url.PathEscape(args[0])+"/resume", nil)(cmd)
		}},
		&cobra.Command{Use: "list", Short: "List organizations", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			all := []api.Organization{}
			for q := (url.Values{"limit": {"1000"}}); ; {
				var page struct {
					Items []api.Organization `json:"items"`
					Next  *string            `json:"next_cursor"`
				}
				if err := c.call(cmd.Context(), http.MethodGet, "/v1/organizations", q, nil, &page); err != nil {
					return err
				}
				all = append(all, page.Items...)
				if page.Next == nil {
					return c.show(cmd, all, func(w io.Writer) { showOrgs(w, all) })
				}
				q.Set("cursor", *page.Next)
			}
		}})
	cmd.AddCommand(importOrgsCommand(c))
	return cmd
}

// An orgRequest is a request whose answer is an organization, which is shown.
type orgRequest func(method, path string, body any) func(*cobra.Command) error

func setOrgCommand(one orgRequest) *cobra.Command {
	cmd := &cobra.Command{Use: "set ORG_ID [NAME=VALUE]...", Short: "Give an organization attributes, or take some away", Args: cobra.MinimumNArgs(1)}
	changes := attributeFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		attributes, err := changes.body(args[1:])
		if err != nil {
			return err
		}
		return one(http.MethodPatch, "/v1/organizations/"+url.PathEscape(args[0]), map[string]any{"attributes": attributes})(cmd)
	}
	return cmd
}

func updateOrgCommand(one orgRequest) *cobra.Command {
	cmd := &cobra.Command{Use: "update ORG_ID", Short: "Give an organization another name, or another plan", Args: cobra.ExactArgs(1)}
	cmd.Flags().String("name", "", "the new name")
	cmd.Flags().String("plan", "", `the plan's name, "" for none`)
	cmd.MarkFlagsOneRequired("name", "plan")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body := map[string]string{}
		for _, field := range []string{"name", "plan"} {
			if f := cmd.Flags().Lookup(field); f.Changed {
				body[field] = f.Value.String()
			}
		}
		return one(http.MethodPatch, "/v1/organizations/"+url.PathEscape(args[0]), body)(cmd)
	}
	return cmd
}

func suspendOrgCommand(one orgRequest) *cobra.Command {
	cmd := &cobra.Command{Use: "suspend ORG_ID", Short: "Refuse all keys of an organization until it is resumed", Args: cobra.ExactArgs(1)}
	reason := cmd.Flags().String("reason", "", "why, for the audit trail")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return one(http.MethodPost, "/v1/organizations/"+url.PathEscape(args[0])+"/suspend", map[string]string{"reason": *reason})(cmd)
	}
	return cmd
}

func importOrgsCommand(c *client) *cobra.Command {
	var path string
	cmd := &cobra.Command{Use: "import FILE --map MAP", Short: "Create the organizations of another installation, and keep a map of their ids", Args: cobra.ExactArgs(1),
		Long: `Create an organization here for each one in a file, - for standard input, that
keytrail orgs list --json wrote elsewhere. MAP gets a line with both ids for each one.
It is safe to interrupt and to repeat with the same MAP: what is in it is not made again.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := openInput(cmd, args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			var all []api.Organization
			if err := json.NewDecoder(in).Decode(&all); err != nil {
				return fmt.Errorf("%s: not what keytrail orgs list --json writes: %w", args[0], err)
			}
			return c.importOrgs(cmd, all, path)
		}}
	cmd.Flags().StringVar(&path, "map", "", "the map: it is made, or gone on with")
	_ = cmd.MarkFlagRequired("map")
	return cmd
}

// A movedOrg is a line of the map: one organization's id in two installations.
type movedOrg struct {
	There string `json:"there"`
	Here  string `json:"here"`
}

func (c *client) importOrgs(cmd *cobra.Command, all []api.Organization, path string) error {
	known, err := readOrgMap(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	created := 0
	for _, there := range all {
		if known[string(there.ID)] != "" {
			continue
		}
		var here api.Organization
		// Named by the old id: what was made before a crash, and is not in the map, is found again.
		if err := c.callOnce(cmd.Context(), "import-"+string(there.ID), http.MethodPost, "/v1/organizations", nil, map[string]string{"name": there.Name}, &here); err != nil {
			return fmt.Errorf("%w; %d are created, repeat the command to go on", err, created)
		}
		if err := json.NewEncoder(f).Encode(movedOrg{string(there.ID), string(here.ID)}); err != nil {
			return err
		}
		created++
	}
	fmt.Fprintf(cmd.OutOrStdout(), "created %d organizations, %d were in the map\n", created, len(all)-created)
	return f.Sync()
}

func readOrgMap(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	orgs := map[string]string{}
	for lines := json.NewDecoder(f); ; {
		var m movedOrg
		err := lines.Decode(&m)
		if errors.Is(err, io.EOF) {
			return orgs, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s is no map of organizations: %w", path, err)
		}
		orgs[m.There] = m.Here
	}
}

func showOrgs(w io.Writer, all []api.Organization) {
	var rows [][]string
	for _, o := range all {
		status := "active"
		if o.SuspendedAt != nil {
			status = "suspended"
		}
		plan := "-"
		if o.Plan != nil {
			plan = *o.Plan
		}
		rows = append(rows, []string{string(o.ID), o.CreatedAt.Format("2006-01-02T15:04:05Z"), strconv.FormatUint(o.Revision, 10), status, plan, o.Name})
	}
	table(w, "ID CREATED REVISION STATUS PLAN NAME", rows)
}
