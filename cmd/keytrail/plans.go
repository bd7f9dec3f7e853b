package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/domain"
)

func plansCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "plans", Short: "Define, list and change plans, which say what organizations may do"}
	cmd.AddCommand(applyCommand(c), listPlansCommand(c),
		planCommand(c, "show NAME", "Show a plan, as a file that apply takes", http.MethodGet, func(w io.Writer, p api.Plan) {
			fmt.Fprintf(w, "# created %s, retired %s, revision %d\n", when(p.CreatedAt), when(p.RetiredAt), p.Revision)
			_, _ = io.WriteString(w, fileOf(planDocument{"plan", p.Name, p.PlanDefinition}))
		}),
		planCommand(c, "retire NAME", "Give a plan to no more organizations; those that have it keep it", http.MethodDelete, func(w io.Writer, p api.Plan) {
			fmt.Fprintln(w, p.Name, "retired")
		}))
	return cmd
}

// A planDocument is a plan as a file has it.
type planDocument struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	domain.PlanDefinition
}

// planCommand makes one request about a plan, and shows what it answers.
func planCommand(c *client, use, short, method string, show func(io.Writer, api.Plan)) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		var p api.Plan
		if err := c.call(cmd.Context(), method, kinds["plan"]+url.PathEscape(args[0]), nil, nil, &p); err != nil {
			return err
		}
		return c.show(cmd, p, func(w io.Writer) { show(w, p) })
	}}
}

func listPlansCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List plans", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		var list struct {
			Items []api.Plan `json:"items"`
		}
		if err := c.call(cmd.Context(), http.MethodGet, "/v1/plans", nil, nil, &list); err != nil {
			return err
		}
		return c.show(cmd, list.Items, func(w io.Writer) {
			var rows [][]string
			for _, p := range list.Items {
				access := "no"
				if p.ProgrammaticAccess {
					access = "yes"
				}
				rows = append(rows, []string{p.Name, access, bound(p.KeysAtMost), bound(p.UsesAMonth), when(p.RetiredAt), strconv.FormatUint(p.Revision, 10), orDash(p.Description)})
			}
			table(w, "NAME ACCESS KEYS USES/MONTH RETIRED REVISION DESCRIPTION", rows)
		})
	}}
}

// bound is a bound as a table shows it.
func bound[N int | int64](n *N) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}
