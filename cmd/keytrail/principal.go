package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

func principalCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "principal", Short: "Tell whose key this is and what it may do", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var p struct {
				ID     string   `json:"id"`
				OrgID  *string  `json:"org_id"`
				Scopes []string `json:"scopes"`
			}
			if err := c.call(cmd.Context(), http.MethodGet, "/v1/principal", nil, nil, &p); err != nil {
				return err
			}
			return c.show(cmd, p, func(w io.Writer) {
				org := "the whole installation"
				if p.OrgID != nil {
					org = *p.OrgID
				}
				fmt.Fprintf(w, "key      %s\nserves   %s\nscopes   %s\n", p.ID, org, strings.Join(p.Scopes, " "))
			})
		}}
}
