package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/domain"
)

// How much of each part a report has: an auditor reads the first ones, and the counts are of all.
const (
	maxReportRows   = 50
	maxReportActors = 1000
	expiringWithin  = 30 * 24 * time.Hour
)

// A report is what auditors ask of an organization's keys, or of all, in a range of times. It is
// made of the API's answers alone, and has no more than counts and the first rows of each.
type report struct {
	Org          string           `json:"org_id,omitempty"` // "": all that the caller may see
	From         time.Time        `json:"from"`
	To           time.Time        `json:"to"`
	At           time.Time        `json:"keys_at"` // what is told of keys is told of this moment
	Made         time.Time        `json:"made_at"` // by the clock of the service
	Uses         []reportDay      `json:"uses_by_day"`
	UsesTotal    outcomes         `json:"uses"`
	Keys         int              `json:"keys"`
	Statuses     map[string]int   `json:"keys_by_status"`
	Ages         []reportAge      `json:"active_keys_by_age"`
	NeverRotated reportKeys       `json:"never_rotated"`
	Expiring     reportKeys       `json:"expiring_soon"`
	Refused      []reportRefusals `json:"refused_uses_of_revoked_keys"`
	Changes      []reportActor    `json:"changes_by_actor"`
	Reads        []reportActor    `json:"reads_of_the_trail"`
}

type outcomes map[domain.Outcome]uint64

type reportDay struct {
	Day    string   `json:"day"` // in UTC
	Counts outcomes `json:"counts"`
}

type reportAge struct {
	Label string `json:"age"`
	Keys  int    `json:"keys"`
	until time.Duration
}

// reportKeys are how many keys there are of a kind, and the first ones.
type reportKeys struct {
	Count int       `json:"count"`
	First []api.Key `json:"first"`
}

type reportRefusals struct {
	Key  domain.KeyID `json:"key_id"`
	Name string       `json:"name"`
	Uses uint64       `json:"uses"`
}

// A reportActor is how often one principal did what.
type reportActor struct {
	Actor  string         `json:"actor"`
	Counts map[string]int `json:"counts"` // by the type of event, or by access
	Total  int            `json:"total"`
	Last   time.Time      `json:"last"`
}

func auditReportCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "report --out FILE", Short: "Write what an auditor asks of a range of times as a page or as JSON", Args: cobra.NoArgs,
		Long: `Write what an auditor asks of a range of times as a page or as JSON: uses by day and outcome,
keys by status and age, keys that were never rotated or expire soon, refused uses of revoked keys,
who changed what, and who read the trail.

The page stands by itself: it loads nothing and runs no script. What it tells of keys is of the
end of the range. The management key needs keys:read and audit:read, and the reads are on the trail.`}
	org := cmd.Flags().String("org", "", "of this organization")
	from := cmd.Flags().String("from", "", "from this time on, like 2026-01-31T12:00:00Z; default 30 days before --to")
	to := cmd.Flags().String("to", "", "before this time; default now")
	format := cmd.Flags().String("format", "html", "html or json")
	file := cmd.Flags().StringP("out", "o", "", "the file, which is replaced")
	_ = cmd.MarkFlagRequired("out") // which there is
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		now, err := c.serviceTime(cmd.Context())
		if err != nil {
			return err
		}
		r, err := newReport(now, *org, *from, *to)
		if err != nil {
			return err
		}
		write, known := map[string]func(io.Writer, *report) error{"html": writePage, "json": writeReport}[*format]
		if !known {
			return fmt.Errorf("--format %q: it is html or json", *format)
		}
		if err := c.gather(cmd.Context(), r); err != nil {
			return err
		}
		if err := replaceFile(*file, func(w io.Writer) error { return write(w, r) }); err != nil {
			return err
		}
		return c.show(cmd, map[string]any{"file": *file}, func(w io.Writer) {
			fmt.Fprintf(w, "%s tells of %s to %s\n", *file, r.From.Format(time.RFC3339), r.To.Format(time.RFC3339))
		})
	}
	return cmd
}

// newReport reads the range of times.
func newReport(now time.Time, org, from, to string) (*report, error) {
	r := &report{Org: org, Made: now, UsesTotal: outcomes{}, Statuses: map[string]int{}, Ages: ages()}
	for _, t := range []struct {
		flag, text string
		at         *time.Time
	}{{"from", from, &r.From}, {"to", to, &r.To}} {
		if t.text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, t.text)
		if err != nil {
			return nil, fmt.Errorf("--%s %q: it is a time like 2026-01-31T12:00:00Z", t.flag, t.text)
		}
		*t.at = at.UTC()
	}
	if r.To.IsZero() {
		r.To = r.Made
	}
	if r.From.IsZero() {
		r.From = r.To.AddDate(0, 0, -30)
	}
	if !r.From.Before(r.To) || r.From.After(now) {
		return nil, errors.New("--from must be before --to, and not still to come")
	}
	if r.At = r.To; r.At.After(now) {
		r.At = now
	}
	return r, nil
}

func ages() []reportAge {
	const day = 24 * time.Hour
	return []reportAge{{Label: "under 30 days", until: 30 * day}, {Label: "30 to 90 days", until: 90 * day}, {Label: "90 to 180 days", until: 180 * day},
		{Label: "180 days to 1 year", until: 365 * day}, {Label: "1 to 2 years", until: 730 * day}, {Label: "over 2 years", until: 1 << 62}}
}

// gather asks the service. Pages are added up as they come.
func (c *client) gather(ctx context.Context, r *report) error {
	for _, part := range []func(context.Context, *report) error{c.gatherKeys, c.gatherNeverRotated, c.gatherUses, c.gatherChanges} {
		if err := part(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// query is what all questions have in common.
func (r *report) query() url.Values {
	q := url.Values{}
	if r.Org != "" {
		q.Set("org_id", r.Org)
	}
	return q
}

// serviceTime is what the service's clock says: this machine's may say something else.
func (c *client) serviceTime(ctx context.Context) (now time.Time, err error) {
	err = c.retry(ctx, func() error {
		answer, err := c.send(ctx, http.MethodGet, "/v1/principal", nil, nil, nil)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		now, err = http.ParseTime(answer.Header.Get("Date"))
		return err
	})
	return now.UTC(), err
}

// eachKey calls f with the keys at the end of the range, oldest first.
func (c *client) eachKey(ctx context.Context, r *report, q url.Values, f func(api.Key)) error {
	q.Set("at", r.At.Format(time.RFC3339))
	q.Set("sort", "created_at")
	q.Set("limit", "1000")
	for {
		var page struct {
			Items []api.Key `json:"items"`
			Next  *string   `json:"next_cursor"`
		}
		if err := c.call(ctx, http.MethodGet, "/v1/keys", q, nil, &page); err != nil {
			return err
		}
		for _, k := range page.Items {
			f(k)
		}
		if page.Next == nil {
			return nil
		}
		q.Set("cursor", *page.Next)
	}
}

func (c *client) gatherKeys(ctx context.Context, r *report) error {
	return c.eachKey(ctx, r, r.query(), func(k api.Key) {
		r.Keys++
		r.Statuses[string(k.Status)]++
		if k.Status != "active" {
			return
		}
		age := slices.IndexFunc(r.Ages, func(a reportAge) bool { return r.At.Sub(k.CreatedAt) < a.until })
		r.Ages[age].Keys++
		if k.ExpiresAt != nil && k.ExpiresAt.Before(r.At.Add(expiringWithin)) {
			r.Expiring.Count++
			r.Expiring.First = firstRows(append(r.Expiring.First, k), func(a, b api.Key) int { return a.ExpiresAt.Compare(*b.ExpiresAt) })
		}
	})
}

// firstRows are the first of rows in an order: of many keys as they come, some are kept.
func firstRows[T any](rows []T, compare func(a, b T) int) []T {
	slices.SortStableFunc(rows, compare)
	return rows[:min(len(rows), maxReportRows)]
}

func (c *client) gatherNeverRotated(ctx context.Context, r *report) error {
	q := r.query()
	q.Set("never_rotated", "true")
	q.Set("status", "active")
	return c.eachKey(ctx, r, q, func(k api.Key) {
		if r.NeverRotated.Count++; r.NeverRotated.Count <= maxReportRows {
			r.NeverRotated.First = append(r.NeverRotated.First, k)
		}
	})
}

func (c *client) gatherUses(ctx context.Context, r *report) error {
	q := r.query()
	q.Set("from", r.From.Format(time.RFC3339Nano))
	q.Set("to", r.To.Format(time.RFC3339Nano))
	days := map[string]outcomes{}
	for {
		var page struct {
			Steps []struct {
				Start  time.Time `json:"start"`
				Counts outcomes  `json:"counts"`
			} `json:"steps"`
			Keys []struct {
				Key    domain.KeyID `json:"key_id"`
				Name   string       `json:"name"`
				Counts outcomes     `json:"counts"`
			} `json:"keys"`
			Next *string `json:"next_cursor"`
		}
		if err := c.call(ctx, http.MethodGet, "/v1/usage", q, nil, &page); err != nil {
			return err
		}
		for _, step := range page.Steps {
			day := step.Start.Format(time.DateOnly)
			if days[day] == nil {
				days[day] = outcomes{}
			}
			days[day].add(step.Counts)
			r.UsesTotal.add(step.Counts)
		}
		for _, k := range page.Keys {
			if n := k.Counts[domain.UseRevoked]; n > 0 {
				r.Refused = firstRows(append(r.Refused, reportRefusals{k.Key, k.Name, n}), func(a, b reportRefusals) int { return cmp.Compare(b.Uses, a.Uses) })
			}
		}
		if page.Next == nil {
			break
		}
		q.Set("cursor", *page.Next)
	}
	for at := r.From.Truncate(24 * time.Hour); at.Before(r.To); at = at.AddDate(0, 0, 1) {
		day := at.Format(time.DateOnly)
		counts := days[day]
		if counts == nil {
			counts = outcomes{} // a list of days is read without a case for those that had none
		}
		r.Uses = append(r.Uses, reportDay{day, counts})
	}
	return nil
}

func (o outcomes) add(p outcomes) {
	for outcome, n := range p {
		o[outcome] += n
	}
}

// Total is their sum.
func (o outcomes) Total() (n uint64) {
	for _, of := range o {
		n += of
	}
	return n
}

// gatherChanges counts events by their actors, as they are replayed. A replay that is broken off
// begins again.
func (c *client) gatherChanges(ctx context.Context, r *report) error {
	q := r.query()
	q.Set("from", r.From.Format(time.RFC3339Nano))
	q.Set("to", r.To.Format(time.RFC3339Nano))
	var types []string
	for _, t := range domain.EventTypes {
		if !t.Use {
			types = append(types, t.Name)
		}
	}
	q.Set("type", strings.Join(types, ","))
	return c.retry(ctx, func() error {
		changes, reads := actors{}, actors{}
		if err := c.replayEach(ctx, q, func(e event) {
			if access, ok := e.Data["access"].(string); ok && e.Type == "audit.read" {
				count, _ := e.Data["count"].(float64)
				reads.add(e, access, int(count))
			} else {
				changes.add(e, e.Type, 1)
			}
		}); err != nil {
			return err
		}
		r.Changes, r.Reads = changes.sorted(), reads.sorted()
		return nil
	})
}

func (c *client) replayEach(ctx context.Context, q url.Values, f func(event)) error {
	answer, err := c.send(ctx, http.MethodGet, "/v1/events", q, http.Header{"Accept": {"application/x-ndjson"}}, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return &unreachable{err}
		}
		f(e)
	}
	if lines.Err() != nil {
		return &unreachable{lines.Err()}
	}
	return nil
}

// actors are counted up to maxReportActors; what comes from others is counted as one.
type actors map[string]*reportActor

func (a actors) add(e event, what string, n int) {
	name := cmp.Or(e.Actor, "system")
	if a[name] == nil && len(a) >= maxReportActors {
		name = "others"
	}
	if a[name] == nil {
		a[name] = &reportActor{Actor: name, Counts: map[string]int{}}
	}
	of := a[name]
	of.Counts[what] += n
	of.Total += n
	if e.Time.After(of.Last) {
		of.Last = e.Time
	}
}

func (a actors) sorted() (all []reportActor) {
	for _, name := range slices.Sorted(maps.Keys(a)) {
		all = append(all, *a[name])
	}
	slices.SortStableFunc(all, func(b, c reportActor) int { return cmp.Compare(c.Total, b.Total) })
	return all
}

func writeReport(w io.Writer, r *report) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// replaceFile puts what write writes into the place of a file, whole or not at all. Other users
// of the machine cannot read it.
func replaceFile(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	err = errors.Join(write(f), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
