// Bench measures the service against a bare net/http handler, and what else its design
// promises: memory per key, replay, restart, writes, listing, and that no revoked key is
// accepted. Everything runs on one machine, as processes of their own:
//
//	go run ./bench                       # the whole, some forty minutes
//	go run ./bench -sizes 1000 -rounds 1 # a look
//	go run ./bench -smoke                # seconds; checks answers, never time
//	go run ./bench -followers 1,10,100,1000 -sizes 10000 -connections 128
//
// Every answer is checked, and in the end the uses on the ledger are compared with the
// answers that were given: a run that measured wrong answers fails.
//
// To see where the time goes, add -profiles DIR. It takes CPU profiles of the service in
// the first round (relaxed-32.pprof, durable-128.pprof, …), of the baseline, of the
// generator and of the replay:
//
//	go run ./bench -sizes 100000 -rounds 1 -duration 10s -profiles /tmp/p
//	go tool pprof -http :8081 /tmp/p/relaxed-32.pprof
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := dispatch(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// dispatch is the bench or, where the first argument says so, one of the processes that
// it makes of itself.
func dispatch(ctx context.Context, args []string) error {
	role := ""
	if len(args) > 0 {
		role = args[0]
	}
	switch role {
	case "baseline":
		return baseline(args[1:], os.Stdin)
	case "load":
		return generate(args[1:], os.Stdin, os.Stdout)
	case "replay":
		return replay(ctx, args[1:], os.Stdout)
	}
	o, err := parse(args, os.Stderr)
	if err != nil {
		return err
	}
	return bench(ctx, o, os.Stdout)
}

// The options of a run.
type options struct {
	sizes       []int
	connections []int
	orgs        int
	rounds      int
	duration    time.Duration
	warmUp      time.Duration
	settle      time.Duration
	writes      int
	revocations int
	pages       int
	smoke       bool
	keep        bool
	out         string
	dir         string
	binary      string
	profiles    string
	followers   []int
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	o.sizes, o.connections = []int{1_000, 100_000, 1_000_000}, []int{32, 128}
	f.Func("sizes", "numbers of keys, with commas (default 1000,100000,1000000)", list(&o.sizes))
	f.Func("connections", "numbers of connections, with commas (default 32,128)", list(&o.connections))
	f.IntVar(&o.orgs, "orgs", 1, "how many organizations the keys are spread over; listing is measured in one")
	f.IntVar(&o.rounds, "rounds", 5, "how often the service and the bare handler take turns")
	f.DurationVar(&o.duration, "duration", 8*time.Second, "how long a turn is measured")
	f.DurationVar(&o.warmUp, "warm-up", 2*time.Second, "how long a turn runs before it is measured")
	f.DurationVar(&o.settle, "settle", 20*time.Second, "how long an idle service is left alone before its garbage is collected, and again before its memory is read")
	f.IntVar(&o.writes, "writes", 5000, "how many keys are created and revoked through the API")
	f.IntVar(&o.revocations, "revocations", 200, "how many keys are revoked while they are being verified")
	f.IntVar(&o.pages, "pages", 200, "how many pages are listed of each kind")
	f.Func("followers", "measure what so many followers, with commas, take away from verification, and nothing else", list(&o.followers))
	f.BoolVar(&o.smoke, "smoke", false, "tiny sizes; check answers and records, and report no figures")
	f.BoolVar(&o.keep, "keep", false, "keep the data directories")
	f.StringVar(&o.out, "out", "", "where the results go, without extension (default bench/results/<date>-<commit>)")
	f.StringVar(&o.dir, "dir", "", "where the data directories go: a real disk (default the directory for temporary files)")
	f.StringVar(&o.binary, "keytrail", "", "a built cmd/keytrail (default: build it)")
	f.StringVar(&o.profiles, "profiles", "", "a directory for CPU profiles; they slow the run down")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", f.Arg(0))
	}
	if o.smoke {
		o.sizes, o.connections, o.rounds, o.duration, o.warmUp = []int{300}, []int{4, 16}, 1, 300*time.Millisecond, 0
		o.orgs, o.writes, o.revocations, o.pages, o.settle = 2, 50, 5, 3, 0
	}
	return o, nil
}

func list(into *[]int) func(string) error {
	return func(s string) error {
		*into = nil
		for word := range strings.SplitSeq(s, ",") {
			n, err := strconv.Atoi(word)
			if err != nil || n < 1 {
				return fmt.Errorf("%q is not a positive number", word)
			}
			*into = append(*into, n)
		}
		return nil
	}
}

func bench(ctx context.Context, o options, stdout io.Writer) (err error) {
	work, err := os.MkdirTemp(o.dir, "keytrail-bench-")
	if err != nil {
		return err
	}
	if !o.keep {
		defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	}
	o.dir = work
	if o.profiles != "" {
		if err := os.MkdirAll(o.profiles, 0o755); err != nil {
			return err
		}
	}
	r := &run{options: o, say: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }}
	if r.binary == "" {
		r.binary = filepath.Join(work, "keytrail")
		if b, err := exec.CommandContext(ctx, "go", "build", "-o", r.binary, "github.com/keytrail/keytrail/cmd/keytrail").CombinedOutput(); err != nil {
			return fmt.Errorf("build cmd/keytrail: %w: %s", err, b)
		}
	}
	if o.followers != nil {
		rep, err := r.followed(ctx, o.followers)
		if err != nil {
			return err
		}
		return rep.save(o.out, stdout)
	}
	rep, err := r.measure(ctx)
	if err != nil {
		return err
	}
	if o.smoke {
		fmt.Fprintln(stdout, "every answer was right, and every use is on the ledger")
		return nil
	}
	return rep.save(o.out, stdout)
}

func (r *run) measure(ctx context.Context) (*report, error) {
	rep := &report{Date: time.Now().UTC(), Rounds: r.rounds, Duration: r.duration.Seconds(), Orgs: r.orgs, Connections: r.connections, Profiled: r.profiles != ""}
	var err error
	if rep.Machine, err = thisMachine(r.dir); err != nil {
		return nil, err
	}
	for i, keys := range r.sizes {
		res, err := r.size(ctx, keys, i == len(r.sizes)-1)
		if err != nil {
			return nil, fmt.Errorf("%d keys: %w", keys, err)
		}
		rep.Sizes = append(rep.Sizes, res)
	}
	return rep, nil
}
