package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A report is a whole run, as the JSON file has it. The Markdown file beside it is made
// of nothing else.
type report struct {
	Date        time.Time `json:"date"`
	Machine     machine   `json:"machine"`
	Only        []string  `json:"only,omitempty"` // the scenarios that were chosen, if not all
	Rounds      int       `json:"rounds"`
	Duration    float64   `json:"turn_seconds"`
	Connections []int     `json:"connections"`
	Profiled    bool      `json:"profiled,omitempty"` // slowed by it: not figures to quote
	Sizes       []*result `json:"sizes"`
	Others      []*result `json:"others,omitempty"` // of other plans

	Created       []writeRate      `json:"create,omitempty"`
	Revoked       []writeRate      `json:"revoke,omitempty"`
	Bulk          []bulkRate       `json:"bulk,omitempty"`
	Refusal       *refusalDelay    `json:"revoke_to_refusal,omitempty"`
	RefusalBusy   *refusalDelay    `json:"revoke_to_refusal_under_load,omitempty"`
	Listing       []listLatency    `json:"listing,omitempty"`
	Organizations []orgsTrial      `json:"many_organizations,omitempty"`
	Policy        []policyTrial    `json:"policy,omitempty"`
	UseSizes      []useSize        `json:"use_sizes,omitempty"`
	WholeReplay   *wholeReplay     `json:"whole_replay,omitempty"`
	Histories     []historyLatency `json:"histories,omitempty"`
	Followers     []followersTrial `json:"followers,omitempty"`
	Soak          []soakSample     `json:"soak,omitempty"`
	Evidence      []evidenceTime   `json:"evidence,omitempty"`
	Signing       []signingTrial   `json:"signing,omitempty"`
	Forwarding    []forwardingRate `json:"forwarding,omitempty"`
	BusySinks     []sinksTrial     `json:"busy_sinks,omitempty"`
	IdleSinks     *idleSinksCost   `json:"idle_sinks,omitempty"`
	Sessions      []sessionsTrial  `json:"sessions,omitempty"`
	LogIns        []logInsTrial    `json:"log_ins,omitempty"`
}

// sections are the scenarios' parts of the report.
var sections = []func(*report) string{
	targetTable, verificationTable, organizationsTable, policyTable, accountingText, startTable, memoryTable, writesTable, bulkTable, revocationTable, listingTable, ndjsonTable, historyTable, followersTable, soakTable, evidenceTable, sinksTable, sessionsTable, logInsTable,
}

func (r *report) targets() []target {
	return slices.Concat(verificationTargets(r), organizationsTargets(r), policyTargets(r), memoryTargets(r), replayTargets(r), rebuildTargets(r), writesTargets(r), bulkTargets(r),
		revocationTargets(r), useSizeTargets(r), historyTargets(r), ndjsonTargets(r), evidenceTargets(r), signingTargets(r), sinksTargets(r), sessionsTargets(r), logInsTargets(r))
}

// A target is what the design asks of one figure.
type target struct {
	what   string
	want   string
	got    string
	missed bool
}

// noTarget is wanted where the design sets no figure.
const noTarget = "no target"

func (t target) verdict() string {
	switch {
	case t.missed:
		return "**missed**"
	case t.want == noTarget:
		return ""
	}
	return "met"
}

func targetTable(r *report) string {
	t := table{before: "## Targets\n", columns: "| wanted | measured |"}
	for _, x := range r.targets() {
		t.row("%s | %s | %s | %s", x.what, x.want, x.got, x.verdict())
	}
	return t.String()
}

// largest is of the largest number of keys; nil if no size was measured.
func (r *report) largest() *result {
	if len(r.Sizes) == 0 {
		return nil
	}
	return r.Sizes[len(r.Sizes)-1]
}

func (r *result) size() string {
	if r.Orgs == 1 {
		return fmt.Sprintf("%d keys", r.Keys)
	}
	return fmt.Sprintf("%d keys of %d organizations", r.Keys, r.Orgs)
}

func (r *report) markdown() string {
	var b strings.Builder
	m := r.Machine
	fmt.Fprintf(&b, "# Bench of %s at commit %s\n\n", r.Date.Format(time.DateOnly), m.Commit)
	fmt.Fprintf(&b, "%s, %d cores, %s memory, %s, %s; %s, 4 KiB append with fsync %.0f µs (median).\n",
		m.CPU, m.Cores, m.Memory, m.Kernel, m.Go, m.Disk, m.Fsync)
	fmt.Fprintf(&b, "%d rounds of %.0f s for each server, turn by turn, the load generator on the same machine. Load average when the run began: %s.\n", r.Rounds, r.Duration, m.Load)
	if r.Only != nil {
		fmt.Fprintf(&b, "Only %s.\n", strings.Join(r.Only, ", "))
	}
	if r.Profiled {
		b.WriteString("\n**CPU profiles were taken during this run: its figures are too low.**\n")
	}
	for _, section := range sections {
		b.WriteString(section(r))
	}
	return b.String()
}

// A table is one of a report, in Markdown.
type table struct {
	before  string // a heading, what the columns mean
	columns string // divided by |; > after a name: of figures, aligned right
	rows    strings.Builder
}

// row adds a row; format has its cells, divided by |.
func (t *table) row(format string, figures ...any) {
	fmt.Fprintf(&t.rows, "| "+format+" |\n", figures...)
}

// String is empty for a table without rows: what was not measured is not mentioned.
func (t *table) String() string {
	if t.rows.Len() == 0 {
		return ""
	}
	names, rule := "|", "|"
	for name := range strings.SplitSeq(t.columns, "|") {
		name, right := strings.CutSuffix(strings.TrimSpace(name), ">")
		if name != "" {
			names += " " + name
		}
		names += " |"
		if right {
			rule += "--:|"
		} else {
			rule += "---|"
		}
	}
	return "\n" + t.before + "\n" + names + "\n" + rule + "\n" + t.rows.String()
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// resultName is where the results of a run go by default, without extension.
func resultName(date time.Time, m machine) string {
	root := output("go", "list", "-m", "-f", "{{.Dir}}")
	return filepath.Join(root, "bench", "results", date.Format(time.DateOnly)+"-"+m.Commit)
}

// save writes a report as JSON and as Markdown, and prints the Markdown.
func save(r *report, name string, stdout io.Writer) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	text := r.markdown()
	_, err = io.WriteString(stdout, text)
	return errors.Join(err, os.MkdirAll(filepath.Dir(name), 0o755),
		os.WriteFile(name+".json", append(b, '\n'), 0o644), os.WriteFile(name+".md", []byte(text), 0o644))
}
