package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"

	"github.com/keytrail/keytrail/internal/backoff"
)

// A footprint is resident memory in bytes: all of it, what is the process's own, and what
// mirrors files and can be dropped at any time.
type footprint struct {
	Resident  int64 `json:"resident"`
	Anonymous int64 `json:"anonymous"`
	Files     int64 `json:"files"`
	Heap      int64 `json:"go_heap_in_use,omitempty"` // as the Go runtime says in /metrics
}

// memory is what the service occupies now.
func (s *service) memory() (footprint, error) {
	p, err := procfs.NewProc(s.pid)
	if err != nil {
		return footprint{}, err
	}
	status, err := p.NewStatus()
	return footprint{Resident: int64(status.VmRSS), Anonymous: int64(status.RssAnon), Files: int64(status.RssFile)}, err
}

// peak is the most memory that was resident since the service started, or since forgetPeak.
func (s *service) peak() (int64, error) {
	p, err := procfs.NewProc(s.pid)
	if err != nil {
		return 0, err
	}
	status, err := p.NewStatus()
	return int64(status.VmHWM), err
}

// forgetPeak lets peak begin at what is resident now.
func (s *service) forgetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.pid), []byte("5"), 0)
}

// collectGarbage has the service do so, twice: what pools hold survives the first time.
func (s *service) collectGarbage(ctx context.Context) error {
	for range 2 {
		if _, err := call(ctx, http.MethodGet, s.debug+"heap?gc=1", "", nil); err != nil {
			return err
		}
	}
	return nil
}

// memory waits until the service idles and Badger has let go of what its last compaction
// needed, collects the garbage and gives the Go runtime time to return the pages: an idle
// process does all of it by itself, in some minutes, and without it one measures the work
// before.
func memory(figure func(*result) *footprint) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) error {
		if _, err := e.untilIdle(ctx, e.service.pid); err != nil {
			return err
		}
		if err := backoff.Sleep(ctx, e.settle); err != nil {
			return err
		}
		if err := e.service.collectGarbage(ctx); err != nil {
			return err
		}
		if err := backoff.Sleep(ctx, e.settle); err != nil {
			return err
		}
		f, err1 := e.service.memory()
		heap, err2 := e.service.metric(ctx, "go_memstats_heap_inuse_bytes")
		f.Heap = int64(heap)
		*figure(e.result) = f
		return errors.Join(err1, err2)
	}
}

// metric is a figure of /metrics without labels.
func (s *service) metric(ctx context.Context, name string) (float64, error) {
	metrics, err := call(ctx, http.MethodGet, s.url("/metrics"), "", nil)
	if err != nil {
		return 0, err
	}
	_, line, found := strings.Cut(string(metrics), "\n"+name+" ")
	if !found {
		return 0, fmt.Errorf("no %s in /metrics", name)
	}
	value, _, _ := strings.Cut(line, "\n")
	return strconv.ParseFloat(value, 64)
}

// memtables is what Badger is told to use, which does not depend on the keys, in bytes.
const memtables = 2 * 16 << 20

func (r *result) perKey(bytes int64) float64 { return float64(bytes) / float64(r.Keys) }

func memoryTargets(r *report) []target {
	last := r.largest()
	if last == nil || last.Loaded.Resident == 0 {
		return nil
	}
	rested, loaded := last.perKey(last.Full.Anonymous-last.Empty.Anonymous-memtables), last.perKey(last.Loaded.Anonymous-last.Empty.Anonymous-memtables)
	return []target{
		{"memory per key at rest after a restart, without mapped files and Badger's two memtables of 16 MiB, " + last.size(), "< 400 bytes", fmt.Sprintf("%.0f bytes", rested), rested >= 400},
		{"the same after all load", noTarget, fmt.Sprintf("%.0f bytes", loaded), false},
	}
}

func memoryTable(r *report) string {
	t := table{
		before: "Resident memory in MB (VmRSS; of it anonymous, and pages of mapped files, which the kernel can drop), the service at rest.\n" +
			"What a key adds is anonymous.\n",
		columns: "keys> | no keys yet> | restarted with all keys> | a key adds> | Go heap in use> | after all load>",
	}
	for _, s := range r.Sizes {
		if s.Full.Resident == 0 {
			continue
		}
		t.row("%d | %s | %s | %.0f bytes | %.1f | %s", s.Keys, s.Empty, s.Full, s.perKey(s.Full.Anonymous-s.Empty.Anonymous), megabytes(s.Full.Heap), s.Loaded)
	}
	return t.String()
}

func megabytes(n int64) float64 { return float64(n) / 1e6 }

func (f footprint) String() string {
	return fmt.Sprintf("%.1f (%.1f + %.1f)", megabytes(f.Resident), megabytes(f.Anonymous), megabytes(f.Files))
}
