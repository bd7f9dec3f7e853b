package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sync/errgroup"

	"github.com/keytrail/keytrail/internal/backoff"
)

// A soakSample is the service in the middle of a turn of full load.
type soakSample struct {
	Seconds    float64   `json:"seconds"` // since the soak began
	Memory     footprint `json:"memory"`
	Goroutines float64   `json:"goroutines"`
	Files      float64   `json:"open_files"`
	measurement
}

// soak loads the service, turn after turn, and fails if it goes on growing.
func soak(ctx context.Context, e *env) error {
	turn := min(time.Minute, e.soak/20)
	for begin := time.Now(); time.Since(begin) < e.soak; {
		w := e.evenly(slices.Max(e.connections), turn)
		s, err := e.soakTurn(ctx, w)
		if err != nil {
			return err
		}
		s.Seconds = time.Since(begin).Seconds()
		e.logf("  %5.0f s: %7.0f verifications/s, p99 %6.0f µs, %s MB, %.0f goroutines, %.0f files", s.Seconds, s.PerSecond, s.P99, s.Memory, s.Goroutines, s.Files)
		e.report.Soak = append(e.report.Soak, s)
	}
	if e.smoke {
		return nil // too short to tell
	}
	return soakFault(e.report.Soak)
}

func (e *env) soakTurn(ctx context.Context, w workload) (s soakSample, err error) {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		s.measurement, _, err = e.load(ctx, e.service.server, w)
		return err
	})
	g.Go(func() error {
		if err := backoff.Sleep(ctx, w.Duration/2); err != nil {
			return err
		}
		p, err := procfs.NewProc(e.service.pid)
		if err != nil {
			return err
		}
		if s.Memory, err = e.service.memory(); err != nil {
			return err
		}
		files, err := p.FileDescriptorsLen()
		s.Files = float64(files)
		if err == nil {
			s.Goroutines, err = e.service.metric(ctx, "go_goroutines")
		}
		return err
	})
	return s, g.Wait()
}

// What may grow after the first ten minutes, or the first third of a shorter soak: a tenth, and as
// much as chance makes of it. Files are those of the ledger and the read model, which grow.
var soakFigures = []struct {
	name   string
	figure func(soakSample) float64
	slack  float64
}{
	{"anonymous memory", func(s soakSample) float64 { return float64(s.Memory.Anonymous) }, 32e6},
	{"goroutines", func(s soakSample) float64 { return s.Goroutines }, 20},
	{"open files", func(s soakSample) float64 { return s.Files }, 20},
}

// soakFault compares the first and the last third of what came after the service had settled.
func soakFault(all []soakSample) error {
	settled := min(10*60, all[len(all)-1].Seconds/3)
	all = all[slices.IndexFunc(all, func(s soakSample) bool { return s.Seconds > settled }):]
	third := int(math.Ceil(float64(len(all)) / 3))
	for _, f := range soakFigures {
		first, last := soakMedian(all[:third], f.figure), soakMedian(all[len(all)-third:], f.figure)
		if last > first*1.1+f.slack {
			return fmt.Errorf("%s grew under load, from %.0f to %.0f", f.name, first, last)
		}
	}
	return nil
}

func soakMedian(samples []soakSample, figure func(soakSample) float64) float64 {
	var all []float64
	for _, s := range samples {
		all = append(all, figure(s))
	}
	return median(all)
}

func soakTable(r *report) string {
	t := table{
		before:  "## Soak\n\nFull load, durable, in the middle of each turn. Memory in MB: resident (anonymous + mapped files).\n",
		columns: "seconds> | verifications/s> | p99 µs> | memory> | goroutines> | open files>",
	}
	for _, s := range r.Soak {
		t.row("%.0f | %.0f | %.0f | %s | %.0f | %.0f", s.Seconds, s.PerSecond, s.P99, s.Memory, s.Goroutines, s.Files)
	}
	return t.String()
}
