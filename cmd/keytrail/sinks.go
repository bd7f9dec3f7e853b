package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/domain"
)

func sinksCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "sinks", Short: "Forward events to webhooks and SIEMs"}
	cmd.AddCommand(createSinkCommand(c), listSinksCommand(c), showSinkCommand(c), updateSinkCommand(c), rotateSinkSecretCommand(c), deleteSinkCommand(c), testSinkCommand(c),
		sinkAttemptsCommand(c), replaySinkCommand(c), deadLettersCommand(c),
		switchSinkCommand(c, "pause", "Make a sink forward nothing"), switchSinkCommand(c, "resume", "Let a sink go on from where it was paused"))
	return cmd
}

func sinkPath(id string) string { return "/v1/sinks/" + url.PathEscape(id) }

const sinkHeading = "ID TYPE FORMAT STATE ORG NAME URL"

func sinkRow(s api.Sink) []string {
	org := "-"
	if s.Org != nil {
		org = string(*s.Org)
	}
	state := s.State
	if s.Pause != nil {
		state += " (" + string(s.Pause.Reason) + ")"
	}
	return []string{string(s.ID), string(s.Type), string(s.Format), state, org, s.Name, orDash(s.URL)}
}

// oneSink makes a request whose answer is a sink, and shows it.
func (c *client) oneSink(cmd *cobra.Command, method, path string, body any) error {
	var s api.Sink
	if err := c.call(cmd.Context(), method, path, nil, body, &s); err != nil {
		return err
	}
	return c.show(cmd, s, func(w io.Writer) { table(w, sinkHeading, [][]string{sinkRow(s)}) })
}

// signedSink makes a request that answers a sink and, of a webhook, its signing secret.
func (c *client) signedSink(cmd *cobra.Command, path string, body any) error {
	var a struct {
		Sink   api.Sink `json:"sink"`
		Secret string   `json:"signing_secret,omitempty"`
	}
	if err := c.call(cmd.Context(), http.MethodPost, path, nil, body, &a); err != nil {
		return err
	}
	if a.Secret == "" && a.Sink.Type == "webhook" {
		return &problem{Code: "secret_lost", Detail: "the answer with the signing secret of " + string(a.Sink.ID) + " was lost on its way; get a new one with keytrail sinks rotate-secret " + string(a.Sink.ID)}
	}
	return c.show(cmd, a, func(w io.Writer) {
		table(w, sinkHeading, [][]string{sinkRow(a.Sink)})
		if a.Secret != "" {
			fmt.Fprintf(w, "\nThe signing secret, shown this once: %s\n", a.Secret)
		}
	})
}

func createSinkCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "create", Short: "Create a sink; the signing secret of a webhook is printed, this once", Args: cobra.NoArgs, Example: `  keytrail sinks create --org org_… --name siem --type webhook --url https://siem.example.com/in
  keytrail sinks create --name splunk --type splunk_hec --url https://splunk.example.com:8088 --format ocsf \
    --set index=keytrail --set acknowledge=true --token-file hec.token --from beginning`}
	flags := sinkFlags(cmd)
	for flag, omitted := range map[string]string{"format": "the first of the type's", "event-type": "all", "uses": "each"} {
		cmd.Flags().Lookup(flag).Usage += "; left out: " + omitted
	}
	flags.text("org", "org_id", "the organization whose events it gets; left out: all, if your key serves all")
	flags.text("type", "type", oneOf(domain.SinkTypeNames()))
	flags.text("from", "from", "what it begins after: now, beginning, a position of the events, or a time; left out: now")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		body, err := flags.body()
		if err != nil {
			return err
		}
		return c.signedSink(cmd, "/v1/sinks", body)
	}
	return cmd
}

func updateSinkCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "update SINK_ID", Short: "Change a sink; what is not named stays as it is", Args: cobra.ExactArgs(1)}
	flags := sinkFlags(cmd)
	flags.unset = cmd.Flags().StringSlice("unset", nil, "a setting or credential that goes; may be repeated")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body, err := flags.body()
		if err != nil {
			return err
		}
		return c.oneSink(cmd, http.MethodPatch, sinkPath(args[0]), body)
	}
	return cmd
}

func listSinksCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List sinks", Args: cobra.NoArgs}
	org := cmd.Flags().String("org", "", "those of this organization")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q := url.Values{"limit": {"1000"}}
		if *org != "" {
			q.Set("org_id", *org)
		}
		for all := []api.Sink{}; ; {
			var page struct {
				Items []api.Sink `json:"items"`
				Next  *string    `json:"next_cursor"`
			}
			if err := c.call(cmd.Context(), http.MethodGet, "/v1/sinks", q, nil, &page); err != nil {
				return err
			}
			all = append(all, page.Items...)
			if page.Next != nil {
				q.Set("cursor", *page.Next)
				continue
			}
			return c.show(cmd, all, func(w io.Writer) {
				var rows [][]string
				for _, s := range all {
					rows = append(rows, sinkRow(s))
				}
				table(w, sinkHeading, rows)
			})
		}
	}
	return cmd
}

func showSinkCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "show SINK_ID", Short: "Show a sink, and how it fares", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		var s struct {
			api.Sink
			Status domain.SinkStatus `json:"status"`
		}
		if err := c.call(cmd.Context(), http.MethodGet, sinkPath(args[0]), nil, nil, &s); err != nil {
			return err
		}
		return c.show(cmd, s, func(w io.Writer) {
			table(w, sinkHeading, [][]string{sinkRow(s.Sink)})
			writeSinkStatus(w, &s.Sink, &s.Status)
		})
	}}
}

// usesText is what --uses takes.
func usesText(u domain.SinkUses) string {
	if u.OneIn > 0 {
		return fmt.Sprintf("%s/%d", u.Mode, u.OneIn)
	}
	return u.Mode
}

func writeSinkStatus(w io.Writer, s *api.Sink, st *domain.SinkStatus) {
	short := s.Settings
	if short.CA != "" {
		short.CA = "given" // a screen of PEM otherwise; --json has it
	}
	settings, _ := json.Marshal(short) // texts and numbers alone
	fmt.Fprintf(w, "\nevents        %s\nuses          %s\nsettings      %s\ncredentials   %s\nbegan after   event %d, uses %d\nlag           %d messages, %.1f s\ndelivered     %d, rejected %d, retries %d\nlast success  %s\n",
		cmp.Or(strings.Join(s.EventTypes, " "), "all"), usesText(s.Uses), settings, orDash(strings.Join(s.Credentials, " ")), s.After.Events, s.After.Uses, st.LagEvents, st.LagSeconds, st.Delivered, st.Rejected, st.Retries, whenOrDash(st.LastSuccessAt))
	for _, line := range [][2]string{{"public key", s.PublicKey}, {"failing since", whenOrDash(st.FailingSince)}, {"last error", st.LastError}, {"at", whenOrDash(st.LastErrorAt)}} {
		if line[1] != "" && line[1] != "-" {
			fmt.Fprintf(w, "%-13s %s\n", line[0], line[1])
		}
	}
	if s.Gaps > 0 {
		fmt.Fprintf(w, "gaps          %d, the last of %s %d to %d (%s)\n", s.Gaps, s.LastGap.Stream, s.LastGap.From, s.LastGap.To, s.LastGap.Reason)
	}
}

func whenOrDash(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return when(&t)
}

func switchSinkCommand(c *client, verb, short string) *cobra.Command {
	return &cobra.Command{Use: verb + " SINK_ID", Short: short, Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		return c.oneSink(cmd, http.MethodPost, sinkPath(args[0])+"/"+verb, nil)
	}}
}

func rotateSinkSecretCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "rotate-secret SINK_ID", Short: "Give a webhook a new signing secret and print it, this once", Args: cobra.ExactArgs(1)}
	flags := &bodyFlags{set: cmd.Flags()}
	flags.text("overlap", "overlap", "how long deliveries are signed with the secrets before as well; left out: 24h")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body, err := flags.body()
		if err != nil {
			return err
		}
		return c.signedSink(cmd, sinkPath(args[0])+"/rotate-secret", body)
	}
	return cmd
}

func deleteSinkCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "delete SINK_ID", Short: "Delete a sink for good", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		return c.call(cmd.Context(), http.MethodDelete, sinkPath(args[0]), nil, nil, nil)
	}}
}

func testSinkCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "test SINK_ID", Short: "Deliver a test event, and tell what became of it", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		var a domain.SinkAttempt
		if err := c.callOnce(cmd.Context(), "", http.MethodPost, sinkPath(args[0])+"/test", nil, nil, &a); err != nil {
			return err
		}
		if err := c.show(cmd, a, func(w io.Writer) { writeAttempts(w, []domain.SinkAttempt{a}) }); err != nil {
			return err
		}
		if a.Failed > 0 {
			return &problem{Code: "sink_test_failed", Detail: "the receiver did not accept it"}
		}
		return nil
	}}
}

func writeAttempts(w io.Writer, all []domain.SinkAttempt) {
	var rows [][]string
	for _, a := range all {
		rows = append(rows, []string{when(&a.At), strconv.Itoa(a.Events), strconv.Itoa(a.Failed), strconv.Itoa(a.Status), fmt.Sprintf("%dms", a.DurationMS), orDash(a.First), orDash(a.Error)})
	}
	table(w, "AT EVENTS FAILED STATUS TOOK FIRST ERROR", rows)
}

func sinkAttemptsCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "attempts SINK_ID", Short: "List the latest attempts to deliver", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		var list struct {
			Items []domain.SinkAttempt `json:"items"`
		}
		if err := c.call(cmd.Context(), http.MethodGet, sinkPath(args[0])+"/attempts", nil, nil, &list); err != nil {
			return err
		}
		return c.show(cmd, list.Items, func(w io.Writer) { writeAttempts(w, list.Items) })
	}}
}

func replaySinkCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "replay SINK_ID --from PLACE", Short: "Forward a part of the trail again", Args: cobra.ExactArgs(1)}
	flags := &bodyFlags{set: cmd.Flags()}
	flags.text("from", "from", "beginning, a position of the events, which is left out itself, or a time")
	flags.text("to", "to", "now, a position of the events, included, or a time; left out: now")
	_ = cmd.MarkFlagRequired("from")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body, err := flags.body()
		if err != nil {
			return err
		}
		return c.oneSink(cmd, http.MethodPost, sinkPath(args[0])+"/replay", body)
	}
	return cmd
}

func deadLettersCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "dead-letters SINK_ID", Short: "List, or forward again, what the receiver rejected for good", Args: cobra.ExactArgs(1)}
	replay := cmd.Flags().Bool("replay", false, "forward all of it again")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path := sinkPath(args[0]) + "/dead-letters"
		if *replay {
			return c.oneSink(cmd, http.MethodPost, path+"/replay", nil)
		}
		q := url.Values{"limit": {"100"}}
		for all := []domain.SinkDeadLetter{}; ; {
			var page struct {
				Items []domain.SinkDeadLetter `json:"items"`
				Next  *uint64                 `json:"next_cursor"`
			}
			if err := c.call(cmd.Context(), http.MethodGet, path, q, nil, &page); err != nil {
				return err
			}
			all = append(all, page.Items...)
			if page.Next != nil {
				q.Set("cursor", strconv.FormatUint(*page.Next, 10))
				continue
			}
			return c.show(cmd, all, func(w io.Writer) {
				var rows [][]string
				for _, l := range all {
					rows = append(rows, []string{when(&l.At), l.Event, l.Type, strconv.Itoa(l.Status), l.Error})
				}
				table(w, "REJECTED EVENT TYPE STATUS ERROR", rows)
			})
		}
	}
	return cmd
}
