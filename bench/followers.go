package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// A followersReport is what followers of the event stream take away from verification.
type followersReport struct {
	Date        time.Time       `json:"date"`
	Machine     machine         `json:"machine"`
	Keys        int             `json:"keys"`
	Connections int             `json:"connections"`
	Rounds      int             `json:"rounds"`
	Duration    float64         `json:"turn_seconds"`
	Load        string          `json:"load_average"` // of the machine when the run began: above zero it was not alone
	Turns       []followersTurn `json:"turns"`
}

// A followersTurn is verification under load while a number of followers are connected.
type followersTurn struct {
	Round     int     `json:"round"`
	Followers int     `json:"followers"`
	Query     string  `json:"query"`
	Processor float64 `json:"service_cpu_seconds"`
	Before    int64   `json:"anonymous_before"` // bytes, without and with the followers at rest
	With      int64   `json:"anonymous_with"`
	Events    int64   `json:"events_received"` // by all of them, under load
	measurement
}

// A crowd is a number of followers with one query.
type crowd struct {
	followers int
	query     string
}

// idleQuery is that of followers who wait for what does not happen under load.
const idleQuery = "type=key.revoked"

// followed measures verification with crowds of followers by turns, in an order that changes.
func (r *run) followed(ctx context.Context, numbers []int) (*followersReport, error) {
	rep := &followersReport{Date: time.Now().UTC(), Keys: r.sizes[0], Connections: r.connections[len(r.connections)-1], Rounds: r.rounds, Duration: r.duration.Seconds()}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return nil, err
	}
	rep.Load, _, _ = strings.Cut(string(load), " ")
	if rep.Machine, err = thisMachine(r.dir); err != nil {
		return nil, err
	}
	d := &deployment{binary: r.binary, dir: r.dir, flags: []string{"--max-streams", "5000", "--max-streams-per-key", "5000"}}
	if d.debug, err = freeAddress(); err != nil {
		return nil, err
	}
	if err := d.serve(ctx, durable, func(s *service) error { return d.found(ctx, s, r.orgs) }); err != nil {
		return nil, err
	}
	p := population{Orgs: d.orgs, Begin: time.Now().UTC().Truncate(time.Millisecond)}
	if _, err := fill(ctx, d.ledger(), p, rep.Keys); err != nil {
		return nil, err
	}
	err = d.serve(ctx, durable, func(s *service) error {
		g, err := startGenerator(ctx, rep.Keys, nil)
		if err != nil {
			return err
		}
		return errors.Join(r.crowds(ctx, d, s, g, numbers, rep), g.stop())
	})
	if err != nil {
		return nil, err
	}
	return rep, r.compare(ctx, d, &sizeResult{Keys: rep.Keys})
}

func (r *run) crowds(ctx context.Context, d *deployment, s *service, g *generator, numbers []int, rep *followersReport) error {
	crowds := []crowd{{0, ""}}
	for _, n := range numbers {
		crowds = append(crowds, crowd{n, idleQuery})
	}
	crowds = append(crowds, crowd{4, ""})
	for round := range r.rounds {
		for _, c := range crowds {
			t := followersTurn{Round: round, Followers: c.followers, Query: c.query}
			if err := r.crowd(ctx, d, s, g, rep.Connections, &t); err != nil {
				return fmt.Errorf("%d followers: %w", c.followers, err)
			}
			r.say("  round %d, %4d followers of %q: %7.0f verifications/s, p99 %6.0f µs, %d events", round+1, t.Followers, t.Query, t.PerSecond, t.P99, t.Events)
			rep.Turns = append(rep.Turns, t)
		}
		slices.Reverse(crowds)
	}
	return nil
}

// crowd is one turn. In its end each idle follower must be sent a revocation.
func (r *run) crowd(ctx context.Context, d *deployment, s *service, g *generator, connections int, t *followersTurn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if _, err := s.untilIdle(ctx, idleTimeout); err != nil {
		return err
	}
	var err error
	if t.Before, err = d.anonymous(ctx, s); err != nil {
		return err
	}
	all := newFollowers(ctx, s.address, d.root)
	defer all.close()
	if err := all.open(t.Followers, t.Query); err != nil {
		return err
	}
	if _, err := s.untilIdle(ctx, idleTimeout); err != nil {
		return err
	}
	if t.With, err = d.anonymous(ctx, s); err != nil {
		return err
	}
	before, err := s.processorTime()
	if err != nil {
		return err
	}
	t.measurement, err = g.measure(order{Address: s.address, Authorization: "Bearer " + d.verifier.Secret, Connections: connections, WarmUp: r.warmUp, Duration: r.duration})
	if err != nil {
		return err
	}
	after, err := s.processorTime()
	if err != nil {
		return err
	}
	t.Processor, t.Events = (after - before).Seconds(), all.events.Load()
	d.answered.add(string(domain.UseValid), t.Answers)
	if all.ended.Load() > 0 {
		return fmt.Errorf("%d streams ended by themselves", all.ended.Load())
	}
	if t.Query == idleQuery {
		return all.untilRevoked(ctx, d)
	}
	return nil
}

// anonymous is the service's memory of its own when its garbage is collected, in bytes.
func (d *deployment) anonymous(ctx context.Context, s *service) (int64, error) {
	if err := collectGarbage(ctx, d.debug); err != nil {
		return 0, err
	}
	f, err := s.process.footprint()
	return f.Anonymous, err
}

// followers are open event streams of one process.
type followers struct {
	ctx     context.Context
	address string
	key     string
	http    *http.Client
	opened  int
	events  atomic.Int64
	ended   atomic.Int64
}

func newFollowers(ctx context.Context, address, key string) *followers {
	return &followers{ctx: ctx, address: address, key: key, http: &http.Client{Transport: &http.Transport{MaxConnsPerHost: 0, DisableCompression: true}}}
}

func (f *followers) close() { f.http.CloseIdleConnections() }

// open opens n streams, from the ledger's end on, and returns when all have begun.
func (f *followers) open(n int, query string) error {
	reader := newClient(f.address, f.key, 1)
	defer reader.close()
	var page struct {
		Next  string `json:"next_cursor"`
		AtEnd bool   `json:"at_end"`
	}
	for !page.AtEnd {
		if err := reader.call(f.ctx, http.MethodGet, "/v1/events?"+idleQuery+"&cursor="+page.Next, nil, &page, http.StatusOK); err != nil {
			return err
		}
	}
	for range n {
		req, err := http.NewRequestWithContext(f.ctx, http.MethodGet, "http://"+f.address+"/v1/events?"+query+"&cursor="+page.Next, nil)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+f.key)
		req.Header.Set("Accept", "text/event-stream")
		res, err := f.http.Do(req)
		if err != nil {
			return err
		}
		if res.StatusCode != http.StatusOK {
			body, _ := io.ReadAll(res.Body)
			return fmt.Errorf("a stream is answered %s: %.300s", res.Status, body)
		}
		f.opened++
		go f.read(res.Body)
	}
	return nil
}

func (f *followers) read(body io.ReadCloser) {
	defer body.Close()
	for lines := bufio.NewReaderSize(body, 16<<10); ; {
		line, err := lines.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			if f.ctx.Err() == nil {
				f.ended.Add(1)
			}
			return
		}
		if strings.HasPrefix(string(line[:min(len(line), 6)]), "data: ") {
			f.events.Add(1)
		}
	}
}

// untilRevoked revokes a key and waits until every follower was sent that.
func (f *followers) untilRevoked(ctx context.Context, d *deployment) error {
	const patience, pause = 30 * time.Second, 5 * time.Millisecond
	root := newClient(f.address, d.root, 1)
	defer root.close()
	made, err := root.create(ctx, newKey{OrgID: string(d.orgs[0]), Name: "revoked"})
	if err != nil {
		return err
	}
	want := f.events.Load() + int64(f.opened)
	if err := root.act(ctx, made.Key.ID, "revoke", struct{}{}); err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); f.events.Load() < want; time.Sleep(pause) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d followers were sent a revocation", f.events.Load()-want+int64(f.opened), f.opened)
		}
	}
	return nil
}

func (r *followersReport) save(out string, stdout io.Writer) error {
	if out == "" {
		out = filepath.Join(output("go", "list", "-m", "-f", "{{.Dir}}"), "bench", "results", r.Date.Format("2006-01-02")+"-"+r.Machine.Commit+"-followers")
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	text := r.markdown()
	_, err = io.WriteString(stdout, text)
	return errors.Join(err, os.WriteFile(out+".json", append(b, '\n'), 0o644), os.WriteFile(out+".md", []byte(text), 0o644))
}

func (r *followersReport) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Followers, %s\n\nCommit %s, %s, %d cores, %s, %s; %d keys, durable, %d connections, %d rounds of %.0f s in changing order. Load average of the machine when the run began: %s.\n\n",
		r.Date.Format("2006-01-02"), r.Machine.Commit, r.Machine.CPU, r.Machine.Cores, r.Machine.Kernel, r.Machine.Go, r.Keys, r.Connections, r.Rounds, r.Duration, r.Load)
	b.WriteString("Medians of the rounds; shares are of the turn without followers in the same round, with their range. The readers of the streams\nare in the bench's process, on the same processors. Each follower of `type=key.revoked` was sent the revocation that ended its turn.\n\n")
	b.WriteString("| followers | of | verifications/s | share | p99 µs | p99 share | service CPU µs per answer | memory per follower | events received/s |\n|--:|---|--:|--:|--:|--:|--:|--:|--:|\n")
	var seen []crowd
	for _, t := range r.Turns {
		c := crowd{t.Followers, t.Query}
		if slices.Contains(seen, c) {
			continue
		}
		seen = append(seen, c)
		r.row(&b, c)
	}
	return b.String()
}

func (r *followersReport) row(b *strings.Builder, c crowd) {
	var rate, share, p99, tail, cpu, memory, events []float64
	for _, t := range r.Turns {
		if (crowd{t.Followers, t.Query}) != c {
			continue
		}
		none := r.Turns[slices.IndexFunc(r.Turns, func(n followersTurn) bool { return n.Round == t.Round && n.Followers == 0 })]
		rate, share = append(rate, t.PerSecond), append(share, t.PerSecond/none.PerSecond)
		p99, tail = append(p99, t.P99), append(tail, t.P99/none.P99)
		cpu, events = append(cpu, t.Processor/float64(t.Answers)*1e6), append(events, float64(t.Events)/r.Duration)
		memory = append(memory, float64(t.With-t.Before)/float64(max(1, t.Followers))/1000)
	}
	query, each := "everything", fmt.Sprintf("%.0f kB", median(memory))
	if c.query != "" {
		query = "`" + c.query + "`"
	}
	if c.followers < 100 {
		each = "" // within what the rest of the process varies by
	}
	if c.followers == 0 {
		query = ""
	}
	fmt.Fprintf(b, "| %d | %s | %.0f | **%.2f** (%.2f–%.2f) | %.0f | %.2f | %.1f | %s | %.0f |\n", c.followers, query, median(rate), median(share), slices.Min(share), slices.Max(share),
		median(p99), median(tail), median(cpu), each, median(events))
}
