package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/keytrail/keytrail/internal/backoff"
)

func eventsCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "events", Short: "List, replay or follow the audit trail"}
	cmd.AddCommand(listEventsCommand(c), tailCommand(c), replayCommand(c))
	return cmd
}

// eventFlags choose events.
func eventFlags(f *pflag.FlagSet) *queryFlags {
	q := &queryFlags{set: f}
	q.text("org", "org_id", "events of this organization")
	q.text("key", "key_id", "events of this key")
	q.text("type", "type", "events of these types, like key.created,key.revoked")
	q.text("actor", "actor", "events by this principal")
	q.text("code", "code", "uses with these outcomes, like REVOKED,EXPIRED")
	q.text("ip", "ip", "uses from this address or network")
	q.text("resource", "resource", "uses for this, like \"GET /v1/orders\", or /v1/* for all paths below and methods")
	q.text("from", "from", "events from this time on, like 2026-01-31T12:00:00Z")
	q.text("to", "to", "events before this time")
	return q
}

// event is what a line for a person needs of an event.
type event struct {
	Position string         `json:"position"`
	Type     string         `json:"type"`
	Subject  string         `json:"subject"`
	Actor    string         `json:"actor"`
	Time     time.Time      `json:"time"`
	Data     map[string]any `json:"data"`
}

// detailNames are the members of data that the line for a person has, in this order.
var detailNames = []string{"code", "ip", "scopes", "resource", "reason", "name", "access", "filter", "log", "generation", "number", "stream", "from", "to", "finding", "delivered", "rejected", "count", "comment"}

// detailText is a member of data in a line.
func detailText(v any) string {
	members, ok := v.(map[string]any)
	if !ok {
		return fmt.Sprint(v)
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(members)) {
		all = append(all, fmt.Sprintf("%s:%v", name, members[name]))
	}
	return strings.Join(all, ",")
}

// print writes one event, which came as JSON: so, or as a line for a person.
func (c *client) print(w io.Writer, text []byte) error {
	if c.json {
		_, err := fmt.Fprintln(w, string(text))
		return err
	}
	var e event
	if err := json.Unmarshal(text, &e); err != nil {
		return err
	}
	detail := ""
	for _, name := range detailNames {
		if v, ok := e.Data[name]; ok {
			detail += " " + name + "=" + detailText(v)
		}
	}
	_, err := fmt.Fprintf(w, "%s  %-8s %-20s %s by %s%s\n", e.Time.Format("2006-01-02T15:04:05.000Z"), e.Position, e.Type, orDash(e.Subject), orDash(e.Actor), detail)
	return err
}

func tailCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "tail", Short: "Follow events as they come, until interrupted", Args: cobra.NoArgs}
	filter := eventFlags(cmd.Flags())
	all := cmd.Flags().Bool("all", false, "begin with the first event, not with the next one")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q, err := filter.query()
		if err != nil {
			return err
		}
		if !*all && !q.Has("from") {
			q.Set("from", time.Now().UTC().Format(time.RFC3339))
		}
		return c.tail(cmd, q)
	}
	return cmd
}

// tail follows events until it is interrupted. Where the connection breaks it goes on
// behind the last event, however long the service is away.
func (c *client) tail(cmd *cobra.Command, q url.Values) error {
	header := http.Header{"Accept": {"text/event-stream"}}
	cursor, connected, away := "", false, false
	for {
		if cursor != "" {
			header.Set("Last-Event-ID", cursor)
		}
		answer, err := c.send(cmd.Context(), http.MethodGet, "/v1/events", q, header, nil)
		if err == nil {
			connected, away = true, false
			cursor, err = c.follow(cmd, answer.Body, cursor)
		}
		pause, again := temporary(err)
		switch {
		case cmd.Context().Err() != nil:
			return nil
		case !connected || !again:
			return err
		}
		if !away {
			fmt.Fprintf(c.errs, "keytrail: %v; trying until it comes back\n", err)
		}
		away = true
		_ = backoff.Sleep(cmd.Context(), max(pause, firstPause)) // its end is looked for above
	}
}

// follow prints events until the stream ends, and tells how far it came.
func (c *client) follow(cmd *cobra.Command, body io.ReadCloser, cursor string) (string, error) {
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
			cursor = id
		}
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			if err := c.print(cmd.OutOrStdout(), []byte(data)); err != nil {
				return cursor, err
			}
		}
	}
	if lines.Err() != nil {
		return cursor, &unreachable{lines.Err()}
	}
	return cursor, &unreachable{io.EOF}
}

func replayCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "replay", Short: "Print all events up to now, or write them to a file as NDJSON", Args: cobra.NoArgs,
		Long: `Print all events up to now, or write them to a file as NDJSON.

With --to-file they are gathered in a file beside it, which gets the name when it is whole. An
interrupted replay goes on there when the same command is given again: no event is lost, and
none is there twice.`}
	filter := eventFlags(cmd.Flags())
	file := cmd.Flags().StringP("to-file", "o", "", "write NDJSON to this file")
	shown := cmd.Flags().Bool("progress", false, "with --to-file: show progress also where standard error is no terminal")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q, err := filter.query()
		if err != nil {
			return err
		}
		if *file != "" {
			return c.replayTo(cmd, q, *file, *shown)
		}
		answer, err := c.replay(cmd.Context(), q)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		lines := bufio.NewScanner(answer.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if err := c.print(cmd.OutOrStdout(), lines.Bytes()); err != nil {
				return err
			}
		}
		if lines.Err() != nil {
			return &unreachable{lines.Err()}
		}
		return nil
	}
	return cmd
}

// replay asks for all events up to now, one a line.
func (c *client) replay(ctx context.Context, q url.Values) (*http.Response, error) {
	return c.send(ctx, http.MethodGet, "/v1/events", q, http.Header{"Accept": {"application/x-ndjson"}}, nil)
}

func listEventsCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "Print the first events, oldest or newest first", Args: cobra.NoArgs}
	filter := eventFlags(cmd.Flags())
	filter.text("order", "order", "asc (the default): oldest first, desc: newest first")
	most := limitFlags(cmd, 100)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		limit, err1 := most()
		q, err2 := filter.query()
		if err := cmp.Or(err1, err2); err != nil {
			return err
		}
		more, err := c.listEvents(cmd, q, limit)
		if more {
			fmt.Fprintf(c.errs, "keytrail: there are more events than these %d; --all lists them, --limit so many\n", limit)
		}
		return err
	}
	return cmd
}

// listEvents prints page after page, until there were limit events or the end was reached.
func (c *client) listEvents(cmd *cobra.Command, q url.Values, limit int) (more bool, err error) {
	for limit > 0 {
		q.Set("limit", strconv.Itoa(min(1000, limit)))
		var page struct {
			Items []json.RawMessage `json:"items"`
			Next  string            `json:"next_cursor"`
			AtEnd bool              `json:"at_end"`
		}
		if err := c.call(cmd.Context(), http.MethodGet, "/v1/events", q, nil, &page); err != nil {
			return false, err
		}
		for _, e := range page.Items {
			if err := c.print(cmd.OutOrStdout(), e); err != nil {
				return false, err
			}
		}
		if page.AtEnd {
			return false, nil
		}
		limit -= len(page.Items)
		q.Set("cursor", page.Next)
	}
	return true, nil
}
