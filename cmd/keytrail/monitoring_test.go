package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/audit/witness"
)

// A panel of a Grafana board.
type panel struct {
	ID         int
	Type       string
	Title      string
	Datasource struct{ UID string }
	GridPos    *struct{ H, W, X, Y int }
	Targets    []struct{ Expr string }
}

var (
	exprLine    = regexp.MustCompile(`(?m)^ +expr: (.*)$`)
	metricName  = regexp.MustCompile(`\b(?:keytrail|process|go)_[a-z0-9_]+`)
	matcherName = regexp.MustCompile(`([a-z_]+)(?:=~|!~|!=|=)"`)
	byLabels    = regexp.MustCompile(`by \(([a-z_, ]+)\)`)
	alertName   = regexp.MustCompile(`(?m)^ +- alert: (\w+)$`)
)

func example(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../examples/monitoring", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// ofScraping are the labels that Prometheus adds.
var ofScraping = []string{"instance", "job"}

// absentWitness is a policy that asks for a witness which does not answer.
func absentWitness(t *testing.T) (policy string) {
	t.Helper()
	dir := t.TempDir()
	file, policy := filepath.Join(dir, "key"), filepath.Join(dir, "policy")
	if err := witness.CreateKeys(file, "witness.test/1"); err != nil {
		t.Fatal(err)
	}
	keys, err := witness.ReadKeys(file)
	if err == nil {
		err = os.WriteFile(policy, []byte("witness w1 "+keys.VerifierKeys[0]+" http://127.0.0.1:1\nquorum w1\n"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

// TestMonitoringAsksForWhatThereIs compares the alerts and the board with what a service
// exposes: each metric and each label in them is there, from the first scrape on.
func TestMonitoringAsksForWhatThereIs(t *testing.T) {
	r := launch(t, t.TempDir(), "--witness-policy", absentWitness(t), "--sink-files", t.TempDir())
	m := r.newKey(t, r.newOrg(t))
	expect(t, r.command(t, m.Secret, "verify"), exitOK)
	r.call(t, "POST", "/v1/sinks", map[string]any{"name": "all", "type": "file", "settings": map[string]any{"path": "all.ndjson"}}, nil)
	var exposed string
	until(t, "the metrics of a sink", func() bool {
		_, exposed = r.get(t, "/metrics")
		return strings.Contains(exposed, "keytrail_sink_state{")
	})
	exprs := boardExprs(t)
	for _, m := range exprLine.FindAllStringSubmatch(example(t, "alerts.yml"), -1) {
		exprs = append(exprs, m[1])
	}
	if len(exprs) < 30 {
		t.Fatalf("only %d expressions were found", len(exprs))
	}
	for _, expr := range exprs {
		labels := ofScraping
		for _, name := range metricName.FindAllString(expr, -1) {
			if !regexp.MustCompile(`(?m)^` + name + `[{ ]`).MatchString(exposed) {
				t.Errorf("no service exposes %s, which %s asks for", name, expr)
			}
			for _, line := range regexp.MustCompile(`(?m)^`+name+`\{.*$`).FindAllString(exposed, -1) {
				for _, l := range matcherName.FindAllStringSubmatch(line, -1) {
					labels = append(labels, l[1])
				}
			}
		}
		for _, l := range askedLabels(expr) {
			if !slices.Contains(labels, l) {
				t.Errorf("%s has no label %s", expr, l)
			}
		}
	}
}

func askedLabels(expr string) (names []string) {
	for _, m := range matcherName.FindAllStringSubmatch(expr, -1) {
		names = append(names, m[1])
	}
	for _, m := range byLabels.FindAllStringSubmatch(expr, -1) {
		names = append(names, strings.Split(m[1], ", ")...)
	}
	return names
}

// boardExprs are the board's expressions. It checks that Grafana can place every panel and
// ask its data source.
func boardExprs(t *testing.T) (exprs []string) {
	t.Helper()
	var board struct {
		Title, UID    string
		SchemaVersion int
		Panels        []panel
		Templating    struct{ List []struct{ Name, Type string } }
	}
	if err := json.Unmarshal([]byte(example(t, "grafana.json")), &board); err != nil {
		t.Fatal(err)
	}
	if board.Title == "" || board.UID == "" || board.SchemaVersion == 0 || fmt.Sprint(board.Templating.List) != "[{datasource datasource} {instance query}]" {
		t.Errorf("the board is not whole: %+v", board)
	}
	ids := map[int]bool{}
	taken := map[[2]int]string{}
	for _, p := range board.Panels {
		if ids[p.ID] || p.Title == "" || p.GridPos == nil || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %d, %q, cannot be placed", p.ID, p.Title)
			continue
		}
		ids[p.ID] = true
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if taken[at] != "" {
					t.Fatalf("%q lies on %q", p.Title, taken[at])
				}
				taken[at] = p.Title
			}
		}
		if p.Type != "row" && (len(p.Targets) == 0 || p.Datasource.UID != "${datasource}") {
			t.Errorf("panel %q asks nothing", p.Title)
		}
		for _, target := range p.Targets {
			exprs = append(exprs, target.Expr)
		}
	}
	return exprs
}

// TestEachAlertIsTried demands a test, run by promtool, of each alert.
func TestEachAlertIsTried(t *testing.T) {
	tests := example(t, "alerts_test.yml")
	alerts := alertName.FindAllStringSubmatch(example(t, "alerts.yml"), -1)
	if len(alerts) < 10 {
		t.Fatalf("only %d alerts were found", len(alerts))
	}
	for _, m := range alerts {
		if strings.Count(tests, "alertname: "+m[1]) != 2 {
			t.Errorf("%s is not tried silent and firing", m[1])
		}
	}
}
