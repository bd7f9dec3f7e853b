package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A process is one of the programs that a run starts. It is ended by stop, and killed
// with the run's context.
type process struct {
	cmd  *exec.Cmd
	log  string // the file that holds what it said
	done chan error
}

const stopTimeout = 60 * time.Second

func start(ctx context.Context, log string, stdin io.Reader, env []string, name string, args ...string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the child has its own
	p := &process{cmd: exec.CommandContext(ctx, name, args...), log: log, done: make(chan error, 1)}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = stdin, out, out
	p.cmd.Env = append(os.Environ(), env...)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { p.done <- p.cmd.Wait() }()
	return p, nil
}

// stop asks the process to end, as an operator would, and waits until it has.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-p.done:
		p.done <- err
		if err != nil && p.cmd.ProcessState.ExitCode() != -1 {
			return fmt.Errorf("%s: %w: %s", filepath.Base(p.cmd.Path), err, p.lastWords())
		}
		return nil
	case <-time.After(stopTimeout):
		return errors.Join(fmt.Errorf("%s did not end within %v", filepath.Base(p.cmd.Path), stopTimeout), p.cmd.Process.Kill())
	}
}

// untilAnswers waits until a GET of url answers 200, and says how long after begin.
func (p *process) untilAnswers(ctx context.Context, url string, begin time.Time, patience time.Duration) (time.Duration, error) {
	const pause = 2 * time.Millisecond
	client := &http.Client{Timeout: 5 * time.Second}
	for {
		res, err := client.Get(url)
		if err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return time.Since(begin), nil
			}
		}
		if time.Since(begin) > patience {
			return 0, fmt.Errorf("%s was not ready after %v: %s", filepath.Base(p.cmd.Path), patience, p.lastWords())
		}
		select {
		case err := <-p.done:
			p.done <- err
			return 0, fmt.Errorf("%s ended before it was ready: %v: %s", filepath.Base(p.cmd.Path), err, p.lastWords())
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(pause):
		}
	}
}

func (p *process) lastWords() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(b[max(0, len(b)-2000):]))
}

// untilIdle waits until the process has rested for a second: work that a load left behind
// (usage counts, compactions) must burden neither its rival's turn nor a look at its
// memory. It answers the processor time that this work took.
func (p *process) untilIdle(ctx context.Context, patience time.Duration) (time.Duration, error) {
	const span, resting = time.Second, 30 * time.Millisecond
	first, err := p.processorTime()
	if err != nil {
		return 0, err
	}
	last := first
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(span):
		}
		now, err := p.processorTime()
		if err != nil {
			return 0, err
		}
		if now-last <= resting {
			return now - first, nil
		}
		last = now
	}
	return last - first, fmt.Errorf("%s was not idle after %v", filepath.Base(p.cmd.Path), patience)
}

// processorTime is what the process has used of the processors so far.
func (p *process) processorTime() (time.Duration, error) {
	const tick = 10 * time.Millisecond // USER_HZ is 100 wherever Go runs on Linux
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // from the third field on
	if len(fields) < 13 {
		return 0, fmt.Errorf("unknown form of /proc/<pid>/stat: %q", b)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * tick, errors.Join(err1, err2)
}

// A footprint is resident memory in bytes: all of it, what is the process's own, and what
// mirrors files and can be dropped at any time.
type footprint struct {
	Resident  int64 `json:"resident"`
	Anonymous int64 `json:"anonymous"`
	Files     int64 `json:"files"`
	Heap      int64 `json:"go_heap_in_use,omitempty"` // as the Go runtime says in /metrics
}

func (p *process) footprint() (footprint, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return footprint{}, err
	}
	return footprint{Resident: statusBytes(b, "VmRSS:"), Anonymous: statusBytes(b, "RssAnon:"), Files: statusBytes(b, "RssFile:")}, nil
}

func statusBytes(status []byte, label string) int64 {
	_, rest, _ := bytes.Cut(status, []byte(label))
	var kib int64
	_, _ = fmt.Sscanf(string(rest), "%d kB", &kib)
	return kib << 10
}

// freeAddress is a loopback address that nothing listens on.
func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// A generator is the load generator's process, as its master sees it.
type generator struct {
	cmd     *exec.Cmd
	orders  *json.Encoder
	answers *json.Decoder
	stdin   io.Closer
	errors  bytes.Buffer
}

func startGenerator(ctx context.Context, keys int, env []string) (*generator, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	g := &generator{cmd: exec.CommandContext(ctx, self, "load", strconv.Itoa(keys))}
	g.cmd.Env, g.cmd.Stderr = append(os.Environ(), env...), &g.errors
	stdin, err := g.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := g.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	g.stdin, g.orders, g.answers = stdin, json.NewEncoder(stdin), json.NewDecoder(stdout)
	return g, g.cmd.Start()
}

// measure has the order carried out; a wrong answer or a broken connection is an error.
func (g *generator) measure(o order) (measurement, error) {
	var m measurement
	if err := g.orders.Encode(o); err != nil {
		return m, err
	}
	if err := g.answers.Decode(&m); err != nil {
		return m, fmt.Errorf("load generator: %w: %s", err, g.errors.String())
	}
	if m.Wrong > 0 || m.Broken > 0 {
		return m, fmt.Errorf("%d wrong answers, %d broken connections; the first: %s", m.Wrong, m.Broken, m.FirstWrong)
	}
	return m, nil
}

func (g *generator) stop() error {
	return errors.Join(g.stdin.Close(), g.cmd.Wait())
}
