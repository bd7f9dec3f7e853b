package main

import (
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
	cancel context.CancelFunc
	ended  chan error
	log    string // the file of its output
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
	s := &service{uses: uses, debug: "http://" + debug + "/debug/pprof/", ended: make(chan error, 1), log: filepath.Join(e.dir, "service.log")}
	log, err3 := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	defer log.Close() // the process has its own
	process, cancel := context.WithCancel(ctx)
	args := append([]string{"serve", "--data", e.data(), "--listen", address, "--uses", string(uses), "--pprof-listen", debug}, e.flags...)
	cmd := exec.CommandContext(process, e.binary, args...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = log, log, stopTimeout
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // as an operator would
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		cancel()
		return err
	}
	s.server, s.cancel, e.service = server{pid: cmd.Process.Pid, address: address}, cancel, s
	ctx, ended := context.WithTimeout(ctx, readyTimeout)
	go func() { s.ended <- cmd.Wait(); ended() }()
	for {
		if _, err := call(ctx, http.MethodGet, s.url("/readyz"), "", nil); err == nil {
			s.ready = time.Since(begin)
			return nil
		}
		if err := backoff.Sleep(ctx, 2*time.Millisecond); err != nil {
			return fmt.Errorf("the service was not ready: %w", err)
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
	err := <-s.ended
	if errors.Is(err, context.Canceled) { // it ended without an error, because it was told to
		return nil
	}
	log, logErr := os.ReadFile(s.log)
	return errors.Join(fmt.Errorf("the service ended: %w: %s", err, log[max(0, len(log)-2000):]), logErr)
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
