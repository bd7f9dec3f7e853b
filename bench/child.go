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

// A role is what a child process does with its next request. Children run the bench's own
// binary, so that each program has its processor time and its heap for itself. They read
// requests and write responses as JSON, one after the other, and end with their standard input.
type role func(ctx context.Context, requests *json.Decoder) (response any, err error)

var roles = map[string]role{
	"baseline": roleOf(serveBaseline),
	"load":     roleOf(new(generator).generate),
	"replay":   roleOf(replayLedger),
	"raw":      roleOf(readAllRaw),
}

func roleOf[Request, Response any](do func(context.Context, Request) (Response, error)) role {
	return func(ctx context.Context, requests *json.Decoder) (any, error) {
		var r Request
		if err := requests.Decode(&r); err != nil {
			return nil, err
		}
		return do(ctx, r)
	}
}

// runChild is the main function of a child process. Unless profile is empty it names the
// file for a CPU profile of the process's whole life.
func runChild(ctx context.Context, do role, profile string) error {
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
	for requests, responses := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout); requests.More(); {
		response, err := do(ctx, requests)
		if err == nil {
			err = responses.Encode(response)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// A child is such a process as its parent sees it. It has one request at a time.
type child struct {
	cmd       *exec.Cmd
	stdin     io.WriteCloser
	responses *json.Decoder
	stderr    bytes.Buffer
}

func startChild(ctx context.Context, role, profile string) (*child, error) {
	self, err1 := os.Executable()
	c := &child{cmd: exec.CommandContext(ctx, self, role, profile)}
	c.cmd.Stderr = &c.stderr
	stdin, err2 := c.cmd.StdinPipe()
	stdout, err3 := c.cmd.StdoutPipe()
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	c.stdin, c.responses = stdin, json.NewDecoder(stdout)
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
