package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/pprof"
)

// A role is what a child process does with each request. Children run the bench's own
// binary, so that each program has its processor time and its heap for itself. They read
// requests and write responses as JSON lines, and end with their standard input.
type role func(ctx context.Context, request []byte) (response any, err error)

var roles = map[string]role{
	"baseline": roleOf(serveBaseline),
	"load":     roleOf(new(generator).carryOut),
	"replay":   roleOf(replayLedger),
}

func roleOf[Request, Response any](do func(context.Context, Request) (Response, error)) role {
	return func(ctx context.Context, request []byte) (any, error) {
		var r Request
		if err := json.Unmarshal(request, &r); err != nil {
			return nil, err
		}
		return do(ctx, r)
	}
}

// runChild is the main function of a child process. Unless profile is empty it names the
// file for a CPU profile of the process's whole life.
func runChild(ctx context.Context, do role, profile string, stdin io.Reader, stdout io.Writer) error {
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	for requests := json.NewDecoder(stdin); ; {
		var request json.RawMessage
		if err := requests.Decode(&request); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		response, err := do(ctx, request)
		if err != nil {
			return err
		}
		if err := json.NewEncoder(stdout).Encode(response); err != nil {
			return err
		}
	}
}

// A child is such a process as its parent sees it. It has one request at a time.
type child struct {
	cmd       *exec.Cmd
	stdin     io.WriteCloser
	responses *json.Decoder
	stderr    bytes.Buffer
}

func startChild(ctx context.Context, role, profile string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.CommandContext(ctx, self, role, profile)}
	c.cmd.Stderr = &c.stderr
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.responses = json.NewDecoder(stdout)
	return c, c.cmd.Start()
}

// ask sends a request and waits for the response. After an error c has ended.
func (c *child) ask(request, response any) error {
	err := json.NewEncoder(c.stdin).Encode(request)
	if err == nil {
		err = c.responses.Decode(response)
	}
	if err != nil {
		return errors.Join(err, c.stop())
	}
	return nil
}

func (c *child) stop() error {
	if err := errors.Join(c.stdin.Close(), c.cmd.Wait()); err != nil {
		return fmt.Errorf("%s: %w: %s", c.cmd.Args[1], err, c.stderr.Bytes())
	}
	return nil
}
