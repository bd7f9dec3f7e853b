package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/keytrail/keytrail/internal/backoff"
	"github.com/keytrail/keytrail/projections"
)

type projectionList struct {
	Items []projections.ProjectionStatus `json:"items"`
}

func rebuildText(r *projections.RebuildStatus) string {
	switch {
	case r == nil:
		return "-"
	case r.State == projections.RebuildRunning:
		return fmt.Sprintf("running:%d/%d", r.Position, r.End)
	}
	return r.State
}

func projectionsCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "projections", Short: "Look after the read model"}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Short: "Tell how far each projection and its latest rebuild is", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			return c.projections(cmd, http.MethodGet, "/v1/projections")
		}},
		&cobra.Command{Use: "rebuild NAME", Short: "Build a projection again from the ledger, beside the old one",
			Long: `Build a projection again from the ledger, beside the old one, which goes on answering.
The service does it by itself: interrupting this command does not end it, "cancel" does.`, Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error { return c.rebuild(cmd, args[0]) }},
		&cobra.Command{Use: "cancel NAME", Short: "Cancel a rebuild; the projection stays as it was", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return c.projections(cmd, http.MethodDelete, rebuildPath(args[0]))
			}})
	return cmd
}

func rebuildPath(name string) string { return "/v1/projections/" + url.PathEscape(name) + "/rebuild" }

// projections makes a request that is answered with the list, and shows that.
func (c *client) projections(cmd *cobra.Command, method, path string) error {
	var list projectionList
	if err := c.call(cmd.Context(), method, path, nil, nil, &list); err != nil {
		return err
	}
	return c.show(cmd, list, func(w io.Writer) {
		var rows [][]string
		for _, p := range list.Items {
			rows = append(rows, []string{p.Name, p.Stream, fmt.Sprint(p.Version), fmt.Sprint(p.Position), fmt.Sprint(p.Lag), rebuildText(p.Rebuild), orDash(p.Halted)})
		}
		table(w, "NAME STREAM VERSION POSITION LAG REBUILD HALTED", rows)
	})
}

// watchEvery is how often a rebuild is asked after.
const watchEvery = 500 * time.Millisecond

// rebuild starts a rebuild and watches it until it has ended.
func (c *client) rebuild(cmd *cobra.Command, name string) error {
	var list projectionList
	if err := c.call(cmd.Context(), http.MethodPost, rebuildPath(name), nil, nil, &list); err != nil {
		return err
	}
	bar := progress(cmd, -1, "rebuilding "+name)
	defer bar.Close()
	for r := list.rebuild(name); r != nil && r.State == projections.RebuildRunning; r = list.rebuild(name) {
		bar.ChangeMax64(int64(max(r.End, 1)))
		_ = bar.Set64(int64(r.Position)) // a display
		if backoff.Sleep(cmd.Context(), watchEvery) != nil {
			return c.leaveRebuild(cmd, name)
		}
		err := c.call(cmd.Context(), http.MethodGet, "/v1/projections", nil, nil, &list)
		if errors.Is(err, context.Canceled) {
			return c.leaveRebuild(cmd, name)
		}
		if err != nil {
			return err
		}
	}
	_ = bar.Clear()
	return c.rebuilt(cmd, list, name)
}

func (c *client) leaveRebuild(cmd *cobra.Command, name string) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "the rebuild of %s goes on; \"keytrail projections list\" shows it, \"keytrail projections cancel %s\" ends it\n", name, name)
	return nil
}

// rebuilt tells how the rebuild ended.
func (c *client) rebuilt(cmd *cobra.Command, list projectionList, name string) error {
	r := list.rebuild(name)
	if r == nil {
		return &problem{Code: "rebuild_lost", Detail: "the service was started again, which ended the rebuild; start it again"}
	}
	if r.State != projections.RebuildDone {
		return &problem{Code: "rebuild_" + r.State, Detail: "the rebuild of " + name + " was not finished; the projection stays as it was"}
	}
	return c.show(cmd, list, func(w io.Writer) {
		fmt.Fprintf(w, "%s was rebuilt up to position %d in %v\n", name, r.Position, r.EndedAt.Sub(r.StartedAt).Round(time.Millisecond))
	})
}

// rebuild is the latest one of a projection, nil if there was none.
func (l projectionList) rebuild(name string) *projections.RebuildStatus {
	for _, p := range l.Items {
		if p.Name == name {
			return p.Rebuild
		}
	}
	return nil
}
