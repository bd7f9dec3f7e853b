package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/keytrail/keytrail/internal/backoff"
)

// A service is the real thing: cmd/keytrail as a process of its own, with the embedded
// ledger, on a loopback port.
type service struct {
	server
	uses   state         // relaxed or durable
	debug  string        // where its profiles are, a URL
	ready  time.Duration // from the start of the process to the first 200 of /readyz
	log    string        // the file of its output
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // of the process, once it has ended
}

// A server is what the load generator can drive: the service or the bare handler.
type server struct {
	pid     int
	address string
}

func (s server) url(path string) string { return "http://" + s.address + path }

const (
	readyTimeout = 10 * time.Minute
	stopTimeout  = time.Minute
)

// startService starts a service on the data directory and waits until it is ready.
func (e *env) startService(ctx context.Context, uses state) error {
	address, err1 := freeAddress()
	debug, err2 := freeAddress()
	s := &service{uses: uses, debug: "http://" + debug + "/debug/pprof/", log: filepath.Join(e.dir, "service.log"), ended: make(chan struct{})}
	log, err3 := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	defer log.Close() // the process has its own
	process, cancel := context.WithCancel(ctx)
	args := append([]string{"serve", "--data", e.data(), "--listen", address, "--uses", string(uses), "--pprof-listen", debug}, e.flags...)
	cmd := exec.CommandContext(process, e.binary, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // as an operator would
	cmd.WaitDelay = stopTimeout
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		cancel()
		return err
	}
	s.server, s.cancel = server{pid: cmd.Process.Pid, address: address}, cancel
	go func() { s.err = cmd.Wait(); close(s.ended) }()
	e.service = s
	err := s.untilReady(ctx)
	s.ready = time.Since(begin)
	return err
}

func (s *service) untilReady(ctx context.Context) error {
	const pause, answerTimeout = 2 * time.Millisecond, 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		attempt, cancel := context.WithTimeout(ctx, answerTimeout)
		_, err := call(attempt, http.MethodGet, s.url("/readyz"), "", nil)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("the service ended before it was ready: %w: %s", s.err, s.tail())
		default:
		}
		if err := backoff.Sleep(ctx, pause); err != nil {
			return fmt.Errorf("the service was not ready: %w: %s", err, s.tail())
		}
	}
}

// stopService stops the service if one runs.
func (e *env) stopService() error {
	s := e.service
	if s == nil {
		return nil
	}
	e.service = nil
	httpClient.CloseIdleConnections()
	s.cancel()
	<-s.ended
	if errors.Is(s.err, context.Canceled) { // it ended without an error, because it was told to
		return nil
	}
	return fmt.Errorf("the service ended: %w: %s", s.err, s.tail())
}

// tail is the last of the service's output.
func (s *service) tail() []byte {
	b, err := os.ReadFile(s.log)
	if err != nil {
		return []byte(err.Error())
	}
	return bytes.TrimSpace(b[max(0, len(b)-2000):])
}

// freeAddress is a loopback address that nothing listens on.
func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// saveProfile writes a CPU profile of the service, of the given time, to a file.
func (s *service) saveProfile(ctx context.Context, file string, d time.Duration) error {
	b, err := call(ctx, http.MethodGet, fmt.Sprintf("%sprofile?seconds=%d", s.debug, max(int(d.Seconds()), 1)), "", nil)
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o644)
}
