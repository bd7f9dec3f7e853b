package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// roundsOf are three rounds in which the service does ratio of what the bare handler
// does, but for one unlucky round, with a tail of tail times the bare handler's.
func roundsOf(ratio, tail float64) []trial {
	var all []trial
	for round := range 3 {
		for _, uses := range []state{relaxed, durable} {
			for _, n := range []int{32, 128} {
				base := 50_000 + float64(round)*10_000
				mine := base * ratio
				if round == 1 {
					mine /= 2
				}
				all = append(all,
					trial{Round: round, Server: bare, Rival: uses, Connections: n, measurement: measurement{PerSecond: base, Answers: 1, percentiles: percentiles{P50: 300, P99: 1000}}},
					trial{Round: round, Server: uses, Rival: uses, Connections: n, measurement: measurement{PerSecond: mine, Answers: 1, percentiles: percentiles{P50: 300, P99: 1000 * tail}}})
			}
		}
	}
	return all
}

// mixesOf is a round in which many organizations do share of what one does, and one beside
// them makes their tail times as long.
func mixesOf(uses state, share, tail float64) []orgsTrial {
	return []orgsTrial{
		{Uses: uses, Mix: mixOne, measurement: measurement{PerSecond: 100}},
		{Uses: uses, Mix: mixMany, measurement: measurement{PerSecond: 100 * share, percentiles: percentiles{P99: 10}}},
		{Uses: uses, Mix: mixUneven, measurement: measurement{PerSecond: 100, percentiles: percentiles{P99: 10 * tail}}},
	}
}

func reportOf(ratio, tail float64, bytes int64, applied float64, late int64) *report {
	size := &result{
		Keys: 1000, Orgs: 1, Ready: []float64{1, 2}, Empty: footprint{Anonymous: 5000}, Full: footprint{Resident: 1, Anonymous: 5000 + memtables + bytes*1000}, Loaded: footprint{Resident: 1},
		Replay: replayRates{Raw: 100, Decoded: 90, Applied: applied}, Rounds: roundsOf(ratio, tail),
		Answered: outcomeCounts{"VALID": 17},
	}
	return &report{
		Date: time.UnixMilli(1e12).UTC(), Rounds: 3, Connections: []int{32, 128}, Sizes: []*result{size}, Machine: machine{Commit: "abc"},
		Refusal: &refusalDelay{Asked: 10, Late: late}, RefusalBusy: &refusalDelay{Asked: 10},
		Listing:       []listLatency{{Question: "sort=name", Pages: 3, Items: 50}},
		Organizations: slices.Concat(mixesOf(relaxed, 0.9, 2), mixesOf(durable, 0.9, 2)),
		Bulk:          []bulkRate{{What: "import", PerSecond: 10_000}, {What: "revoke", PerSecond: 15_000}},
		Created:       []writeRate{{Connections: 32, Count: 2, PerSecond: 5000}}, Revoked: []writeRate{{Connections: 1, Count: 2}},
	}
}

func TestARatioIsTheMedianOfTheRounds(t *testing.T) {
	c := reportOf(0.9, 2, 100, 60, 0).Sizes[0].compare(configuration{relaxed, 32})
	if c.ratio < 0.899 || c.ratio > 0.901 || c.ratioMin > 0.46 || c.ratioMax > 0.901 || c.p99Ratio != 2 || c.bare.perSecond != 60_000 {
		t.Errorf("the contest is %+v", c)
	}
}

func TestTargetsAreMetOrMissed(t *testing.T) {
	for name, c := range map[string]struct {
		report *report
		missed int
	}{
		"all are met":                  {report: reportOf(0.9, 2, 399, 50, 0)},
		"only relaxed is too slow":     {report: reportOf(0.7, 2, 399, 50, 0), missed: 2},
		"both are too slow":            {report: reportOf(0.5, 2, 399, 50, 0), missed: 3},
		"the tail is too long":         {report: reportOf(0.9, 3, 399, 50, 0), missed: 4},
		"keys take too much memory":    {report: reportOf(0.9, 2, 400, 50, 0), missed: 1},
		"replay is too slow":           {report: reportOf(0.9, 2, 399, 49, 0), missed: 1},
		"a revoked key was once valid": {report: reportOf(0.9, 2, 399, 50, 1), missed: 1},
		"creates and bulk are too slow": {missed: 3, report: &report{
			Created: []writeRate{{Connections: 1}, {Connections: 32, PerSecond: 4999}}, Bulk: []bulkRate{{PerSecond: 9999}, {PerSecond: 14_999}},
		}},
		"signing takes too much": {missed: 1, report: &report{Signing: []signingTrial{
			{Uses: durable, Signs: true, Processor: 1, measurement: measurement{PerSecond: 96, Answers: 1}}, {Uses: durable, Processor: 0.98, measurement: measurement{PerSecond: 100, Answers: 1}}}}},
		"a rebuild takes too long and too much":    {missed: 2, report: &report{Sizes: []*result{{Keys: 1_000_000, Rebuild: rebuilt{Seconds: 20.1, Peak: 1.001e9}}}}},
		"many are slower, and one is in their way": {missed: 4, report: &report{Organizations: slices.Concat(mixesOf(relaxed, 0.89, 2.1), mixesOf(durable, 0.89, 2.1))}},
	} {
		missed := 0
		for _, t := range c.report.targets() {
			if t.missed {
				missed++
			}
		}
		if missed != c.missed {
			t.Errorf("%s: %d targets are missed, want %d:%s", name, missed, c.missed, targetTable(c.report))
		}
	}
}

func TestAReportIsSavedAsJSONAndAsMarkdown(t *testing.T) {
	out := filepath.Join(t.TempDir(), "results", "x")
	var printed strings.Builder
	want := reportOf(0.9, 2, 399, 50, 0)
	if err := save(want, out, &printed); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out + ".md")
	if err != nil || string(text) != printed.String() || strings.Contains(printed.String(), "%!") {
		t.Errorf("%v: printed %s", err, printed.String())
	}
	for _, figure := range []string{"| relaxed | 32 |", "**0.90**", "sort=name", "399 bytes", "VALID 17"} {
		if !strings.Contains(printed.String(), figure) {
			t.Errorf("%q is not in the report:\n%s", figure, printed.String())
		}
	}
	b, err := os.ReadFile(out + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var got report
	if err := json.Unmarshal(b, &got); err != nil || got.markdown() != want.markdown() {
		t.Errorf("the JSON file does not hold what the Markdown file is made of: %v", err)
	}
}
