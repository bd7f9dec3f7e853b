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
			var p principal
			if err := c.call(cmd.Context(), http.MethodGet, "/v1/principal", nil, nil, &p); err != nil {
				return err
			}
			return c.show(cmd, p, p.write)
		}}
}

// A principal is who asks, as the service sees them.
type principal struct {
	ID      string   `json:"id"`
	Kind    string   `json:"kind"`
	OrgID   *string  `json:"org_id"`
	Reach   string   `json:"reach"`
	Scopes  []string `json:"scopes"`
	Session string   `json:"session_id,omitempty"`
	Role    string   `json:"role,omitempty"`
	User    *struct {
		Email string `json:"email"`
	} `json:"user,omitempty"`
}

func (p *principal) write(w io.Writer) {
	serves := "the whole installation"
	switch {
	case p.OrgID != nil:
		serves = *p.OrgID
	case p.Reach == "none":
		serves = "no organization"
	}
	if p.User == nil {
		fmt.Fprintf(w, "key      %s\n", p.ID)
	} else {
		fmt.Fprintf(w, "user     %s, %s\nsession  %s\nrole     %s\n", p.ID, p.User.Email, p.Session, p.Role)
	}
	fmt.Fprintf(w, "serves   %s\nscopes   %s\n", serves, strings.Join(p.Scopes, " "))
}
