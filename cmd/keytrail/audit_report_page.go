package main

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// The page of a report loads nothing and runs nothing, which its content security policy says too:
// whatever a key's name is, it is text.

//go:embed audit_report.html
var reportHTML string

//go:embed audit_report.css
var reportCSS string

var reportPage = template.Must(template.New("report").Funcs(template.FuncMap{
	"day":    func(t time.Time) string { return t.UTC().Format(time.DateOnly) },
	"time":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
	"count":  func(n any) string { return grouped(fmt.Sprint(n)) },
	"counts": countsText[string, int],
}).Parse(reportHTML))

// A reportView is a report and what its page draws.
type reportView struct {
	*report
	Style        template.CSS
	StyleHash    string
	Days         chart
	Legend       []outcomeGroup
	StatusBars   barChart
	AgeBars      barChart
	RefusedTotal uint64
	RevokedTotal uint64
}

func writePage(w io.Writer, r *report) error {
	sum := sha256.Sum256([]byte(reportCSS))
	v := reportView{report: r, Style: template.CSS(reportCSS), StyleHash: base64.StdEncoding.EncodeToString(sum[:]),
		Days: chartDays(r.Uses), Legend: outcomeGroups, RefusedTotal: r.UsesTotal.Total() - r.UsesTotal[domain.UseValid], RevokedTotal: r.UsesTotal[domain.UseRevoked]}
	v.StatusBars = newBarChart("Keys by status", "Status")
	for _, status := range domain.StateNames() {
		v.StatusBars.add(status, r.Statuses[status], map[string]string{"active": "valid", "revoked": "revoked", "expired": "expired"}[status])
	}
	v.AgeBars = newBarChart("Active keys by age", "Age")
	for _, a := range r.Ages {
		v.AgeBars.add(a.Label, a.Keys, "valid")
	}
	v.StatusBars.draw()
	v.AgeBars.draw()
	return reportPage.Execute(w, v)
}

// An outcomeGroup is the outcomes that share a colour.
type outcomeGroup struct {
	Label, Class string
	outcomes     []domain.Outcome // none: all others
}

var outcomeGroups = []outcomeGroup{
	{"valid", "valid", []domain.Outcome{domain.UseValid}},
	{"revoked", "revoked", []domain.Outcome{domain.UseRevoked}},
	{"expired", "expired", []domain.Outcome{domain.UseExpired}},
	{"rate limited", "limited", []domain.Outcome{domain.UseRateLimited}},
	{"insufficient scope", "scope", []domain.Outcome{domain.UseInsufficientScope}},
	{"refused otherwise", "other", nil},
}

// of is how many of the counts are in the group.
func (g *outcomeGroup) of(counts outcomes) (n uint64) {
	for outcome, of := range counts {
		other := !slices.ContainsFunc(outcomeGroups, func(h outcomeGroup) bool { return slices.Contains(h.outcomes, outcome) })
		if slices.Contains(g.outcomes, outcome) || g.outcomes == nil && other {
			n += of
		}
	}
	return n
}

func (d reportDay) Valid() uint64   { return d.Counts[domain.UseValid] }
func (d reportDay) Refused() uint64 { return d.Counts.Total() - d.Valid() }

// Why names the outcomes of the refusals.
func (d reportDay) Why() string {
	refusals := maps.Clone(d.Counts)
	delete(refusals, domain.UseValid)
	return countsText(refusals)
}

// countsText names what was counted, the most first.
func countsText[K ~string, N int | uint64](counts map[K]N) string {
	names := slices.Sorted(maps.Keys(counts))
	slices.SortStableFunc(names, func(a, b K) int { return cmp.Compare(counts[b], counts[a]) })
	var text []string
	for _, name := range names {
		text = append(text, fmt.Sprintf("%s %s", name, grouped(fmt.Sprint(counts[name]))))
	}
	return strings.Join(text, ", ")
}

// grouped is a number in groups of three digits, with narrow spaces between them that break no line.
func grouped(digits string) string {
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "\u202f" + digits[i:]
	}
	return digits
}

// A chart is a drawing of bars; its texts and numbers are in a table beside it.
type chart struct {
	Title         string
	Width, Height int
	Bars          []bar
	Lines         []gridLine
	Labels        []chartLabel
}

type bar struct {
	Class, Title string
	X, Y, W, H   pixels
}

type gridLine struct {
	X1, X2, Y, TextX, TextY pixels
	Label                   string
}

type chartLabel struct {
	X, Y         pixels
	Text, Anchor string
}

// pixels are a length in a drawing.
type pixels float64

func (p pixels) String() string { return strconv.FormatFloat(float64(p), 'f', 2, 64) }

// chartDays draws a bar for each day, of a piece for each group of outcomes.
func chartDays(days []reportDay) chart {
	const width, height, left, right, top, bottom = 1000, 280, 64, 36, 12, 28 // right: half of a label
	c := chart{Title: "Uses by day and outcome", Width: width, Height: height}
	var most uint64
	for _, d := range days {
		most = max(most, d.Counts.Total())
	}
	step := niceStep(most, 4)
	ceiling := pixels(max(step, (most+step-1)/step*step))
	y := func(n uint64) pixels { return height - bottom - pixels(n)/ceiling*(height-bottom-top) }
	for n := uint64(0); n <= uint64(ceiling); n += step {
		c.Lines = append(c.Lines, gridLine{left, width - right, y(n), left - 6, y(n) + 4, grouped(fmt.Sprint(n))})
	}
	slot := pixels(width-left-right) / pixels(max(len(days), 1))
	for i, d := range days {
		x := left + pixels(i)*slot
		for _, p := range d.pieces() {
			c.Bars = append(c.Bars, bar{p.class, p.title, x + slot*0.1, y(p.to), slot * 0.8, y(p.from) - y(p.to)})
		}
		if every := max(1, (len(days)+5)/6); i%every == 0 {
			c.Labels = append(c.Labels, chartLabel{x + slot/2, height - 8, d.Day, "middle"})
		}
	}
	return c
}

// A piece is a part of a day's bar.
type piece struct {
	class, title string
	from, to     uint64
}

func (d reportDay) pieces() (all []piece) {
	var at uint64
	for _, g := range outcomeGroups {
		if n := g.of(d.Counts); n > 0 {
			all = append(all, piece{g.Class, fmt.Sprintf("%s: %s %s", d.Day, grouped(fmt.Sprint(n)), g.Label), at, at + n})
			at += n
		}
	}
	return all
}

// niceStep is 1, 2 or 5 times a power of ten, so that about so many steps reach most.
func niceStep(most uint64, steps uint64) uint64 {
	for power := uint64(1); ; power *= 10 {
		for _, digit := range []uint64{1, 2, 5} {
			if step := digit * power; step*steps >= most {
				return step
			}
		}
	}
}

// A barChart is a bar for each of some things.
type barChart struct {
	chart
	Of   string
	Rows []barRow
}

type barRow struct {
	Label string
	Count int
	class string
}

func newBarChart(title, of string) barChart { return barChart{chart: chart{Title: title}, Of: of} }

func (b *barChart) add(label string, n int, class string) {
	b.Rows = append(b.Rows, barRow{label, n, cmp.Or(class, "other")})
}

func (b *barChart) draw() {
	const width, left, right, row = 600, 140, 70, 30
	b.Width, b.Height = width, row*len(b.Rows)
	most := 1
	for _, r := range b.Rows {
		most = max(most, r.Count)
	}
	for i, r := range b.Rows {
		y, w := pixels(i*row), pixels(width-left-right)*pixels(r.Count)/pixels(most)
		n := grouped(strconv.Itoa(r.Count))
		b.Bars = append(b.Bars, bar{r.class, r.Label + ": " + n, left, y + 5, w, row - 10})
		b.Labels = append(b.Labels, chartLabel{left - 10, y + 19, r.Label, "end"}, chartLabel{left + w + 8, y + 19, n, "start"})
	}
}
