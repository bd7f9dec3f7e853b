package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

type projectionList struct {
	Items []struct {
		Name     string `json:"name"`
		Stream   string `json:"stream"`
		Version  int    `json:"version"`
		Position uint64 `json:"position"`
		Lag      uint64 `json:"lag"`
		Halted   string `json:"halted,omitempty"`
	} `json:"items"`
}

func projectionsCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "projections", Short: "Look after the read model"}
	ask := func(cmd *cobra.Command, method, path string) error {
		var list projectionList
		if err := c.call(cmd.Context(), method, path, nil, nil, &list); err != nil {
			return err
		}
		return c.show(cmd, list, func(w io.Writer) {
			var rows [][]string
			for _, p := range list.Items {
				rows = append(rows, []string{p.Name, p.Stream, fmt.Sprint(p.Version), fmt.Sprint(p.Position), fmt.Sprint(p.Lag), orDash(p.Halted)})
			}
			table(w, "NAME STREAM VERSION POSITION LAG HALTED", rows)
		})
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Short: "Tell how far each projection is", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			return ask(cmd, http.MethodGet, "/v1/projections")
		}},
		&cobra.Command{Use: "rebuild NAME", Short: "Build a projection again from the ledger, beside the old one", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return ask(cmd, http.MethodPost, "/v1/projections/"+url.PathEscape(args[0])+"/rebuild")
			}})
	return cmd
}
