// Bench measures the service against a bare net/http handler, and what else its design
// promises: memory per key, rebuild, restart, writes, listing, many organizations, the trail,
// and that no revoked key is accepted. Everything runs on one machine, as processes of their own:
//
//	go run ./bench                       # the whole, some forty minutes
//	go run ./bench -sizes 1000 -rounds 1 # a look
//	go run ./bench -smoke                # seconds; checks answers, never time
//	go run ./bench -only bulk,writes     # these scenarios, and what they build on
//	go run ./bench -only rebuild -sizes 10000000
//	go run ./bench -only sessions,log-ins -sizes 10000
//	go run ./bench -soak 1h              # only when asked for, as the next one
//	go run ./bench -followers 1,10,100,1000 -sizes 10000 -connections 128
//
// Every answer is checked, and in the end the uses on the ledger are compared with the
// answers that were given: a run that measured wrong answers fails.
//
// What is measured are scenarios, in plans that share an installation (scenario.go), each in
// a file of its name; the type plan says how to add one.
//
// To see where the time goes, add -profiles DIR. It takes CPU profiles of the service in
// the first round (relaxed-32.pprof, durable-128.pprof, …), of the baseline, of the
// generator and of the replay:
//
//	go run ./bench -sizes 100000 -rounds 1 -duration 10s -profiles /tmp/p
//	go tool pprof -http :8081 /tmp/p/relaxed-32.pprof
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	var err error
	if args := os.Args[1:]; len(args) == 2 && roles[args[0]] != nil {
		err = runChild(ctx, roles[args[0]], args[1])
	} else {
		err = bench(ctx, parse(args), os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// The options of a run; parse says what each means.
type options struct {
	sizes, connections, followers, usesFilled          numbers
	sizeOrgs, rounds, writes, bulk, revocations, pages int
	forwarded                                          int
	duration, warmUp, settle, idle, soak               time.Duration
	smoke, keep                                        bool
	out, dir, binary, profiles                         string
	sinkFiles                                          string   // the folder that file sinks may write into
	only                                               []string // names of scenarios; nil: all that are not optional
}

func parse(args []string) (o options) {
	o.sizes, o.connections, o.usesFilled, o.idle = numbers{1_000, 100_000, 1_000_000}, numbers{32, 128}, numbers{1_000_000, 10_000_000}, time.Second
	f := flag.NewFlagSet("bench", flag.ExitOnError)
	f.Var(&o.sizes, "sizes", "numbers of keys, with commas")
	f.Var(&o.connections, "connections", "numbers of connections, with commas")
	f.Var(&o.usesFilled, "uses", "numbers of uses on the ledger when their histories are read, with commas")
	f.IntVar(&o.sizeOrgs, "orgs", 1, "how many organizations the keys of -sizes are spread over; listing is measured in one")
	f.IntVar(&o.rounds, "rounds", 3, "how often the service and the bare handler take turns")
	f.DurationVar(&o.duration, "duration", 8*time.Second, "how long a turn is measured")
	f.DurationVar(&o.warmUp, "warm-up", 2*time.Second, "how long a turn runs before it is measured")
	f.DurationVar(&o.settle, "settle", 20*time.Second, "how long an idle service is left alone before its garbage is collected, and again before its memory is read")
	f.IntVar(&o.writes, "writes", 5000, "how many keys are created and revoked through the API")
	f.IntVar(&o.bulk, "bulk", 100_000, "how many keys are imported, and then revoked in bulk")
	f.IntVar(&o.revocations, "revocations", 200, "how many keys are revoked while they are being verified")
	f.IntVar(&o.pages, "pages", 200, "how many pages are listed of each kind")
	f.IntVar(&o.forwarded, "forwarded", 500_000, "how many uses are forwarded to each type of sink")
	f.Var(&o.followers, "followers", "measure what so many followers, with commas, take away from verification, and nothing else unless -only says so")
	f.DurationVar(&o.soak, "soak", 0, "load the service for so long and see that it does not grow, and nothing else unless -only says so")
	f.Func("only", "names of the scenarios to run, with commas", func(names string) error {
		o.only = strings.Split(names, ",")
		return nil
	})
	f.BoolVar(&o.smoke, "smoke", false, "tiny sizes; check answers and records, and report no figures")
	f.BoolVar(&o.keep, "keep", false, "keep the data directories")
	f.StringVar(&o.out, "out", "", "where the results go, without extension (default bench/results/<date>-<commit>)")
	f.StringVar(&o.dir, "dir", "", "where the data directories go: a real disk (default the directory for temporary files)")
	f.StringVar(&o.binary, "keytrail", "", "a built cmd/keytrail (default: build it)")
	f.StringVar(&o.profiles, "profiles", "", "a directory for CPU profiles; they slow the run down")
	_ = f.Parse(args) // it exits
	if f.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "bench: unknown argument %q\n", f.Arg(0))
		os.Exit(2)
	}
	o.sinkFiles = filepath.Join(cmp.Or(o.dir, os.TempDir()), fmt.Sprintf("keytrail-bench-sinks-%d", os.Getpid()))
	if o.smoke {
		o.sizes, o.connections, o.rounds, o.duration, o.warmUp = numbers{300}, numbers{4, 16}, 1, 300*time.Millisecond, 0
		o.sizeOrgs, o.writes, o.bulk, o.revocations, o.pages, o.settle, o.idle = 2, 50, 1200, 5, 3, 0, 100*time.Millisecond
		o.forwarded = 2_000
		o.usesFilled, o.followers, o.soak, o.only = numbers{2_000, 5_000}, numbers{3}, time.Second, nil
		return o
	}
	if o.only == nil && o.followers != nil {
		o.only = append(o.only, "followers")
	}
	if o.only == nil && o.soak > 0 {
		o.only = append(o.only, "soak")
	}
	if i := slices.IndexFunc(o.only, func(name string) bool { return !o.known(name) }); i >= 0 {
		fmt.Fprintf(os.Stderr, "bench: unknown scenario %q\n", o.only[i])
		os.Exit(2)
	}
	return o
}

// numbers is a flag of positive numbers, with commas.
type numbers []int

func (n *numbers) String() string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint([]int(*n)), " ", ","), "[]")
}

func (n *numbers) Set(s string) error {
	*n = nil
	for word := range strings.SplitSeq(s, ",") {
		number, err := strconv.Atoi(word)
		if err != nil || number < 1 {
			return fmt.Errorf("%q is not a positive number", word)
		}
		*n = append(*n, number)
	}
	return nil
}

func bench(ctx context.Context, o options, stdout io.Writer) (err error) {
	if o.dir, err = os.MkdirTemp(o.dir, "keytrail-bench-"); err != nil {
		return err
	}
	if !o.keep {
		defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	}
	if err := os.MkdirAll(cmp.Or(o.profiles, o.dir), 0o755); err != nil {
		return err
	}
	if o.binary == "" {
		o.binary = filepath.Join(o.dir, "keytrail")
		build := exec.CommandContext(ctx, "go", "build", "-o", o.binary, "github.com/keytrail/keytrail/cmd/keytrail")
		if b, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build cmd/keytrail: %w: %s", err, b)
		}
	}
	m, err := thisMachine(o.dir)
	if err != nil {
		return err
	}
	r := &report{
		Date: time.Now().UTC(), Machine: m, Only: o.only, Rounds: o.rounds, Duration: o.duration.Seconds(),
		Connections: o.connections, Profiled: o.profiles != "",
	}
	for _, p := range o.plans() {
		if err := r.run(ctx, o, p); err != nil {
			return err
		}
	}
	if o.smoke {
		_, err := fmt.Fprintln(stdout, "every answer was right, and every use is on the ledger")
		return err
	}
	return save(r, cmp.Or(o.out, resultName(r.Date, m)), stdout)
}
