package natsproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// What the clients of an organization may ask for. An acknowledgement costs 1, all else, which makes
// the server answer or remember something, requestCost. Of those that want more is read more slowly.
const (
	budgetPerSecond  = 20_000
	requestCost      = 100
	maxSubscriptions = 64
)

// chunkBytes is how much is gathered for a client before it is sent.
const chunkBytes = 32 << 10

// maxMessage bounds a message of the server's, with its headers.
const maxMessage = 2 << 20

var (
	errSlow     = errors.New("it takes too long to receive")
	errNotValid = errors.New("its key may not read any longer")
)

// run passes on both ways until either side ends, and says why.
func (c *client) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer context.AfterFunc(ctx, func() { _, _ = c.server.Close(), c.conn.Close() })()
	c.proxy.running.Go(func() { cancel(c.fromServer(ctx)) })
	cancel(c.fromClient(ctx))
	return context.Cause(ctx)
}

// fromClient passes the client's commands on.
func (c *client) fromClient(ctx context.Context) error {
	for {
		if err := c.conn.SetReadDeadline(time.Now().Add(idleTimeout)); err != nil {
			return err
		}
		command, err := readCommand(c.in)
		if errors.Is(err, errProtocol) {
			c.end("Unknown Protocol Operation")
		}
		if err != nil {
			return err
		}
		if err := c.budget.WaitN(ctx, command.cost()); err != nil {
			return err
		}
		if err := c.pass(&command); err != nil {
			return err
		}
	}
}

func (c *command) cost() int {
	if c.verb == "PUB" && c.reply == "" {
		return 1 // an acknowledgement: nothing else has no answer
	}
	return requestCost
}

// pass passes a command on to the server, or tells the client why not.
func (c *client) pass(command *command) error {
	denial := command.judge(&c.reader)
	switch {
	case denial != "":
		return c.write(fmt.Appendf(nil, "-ERR '%s'\r\n", denial))
	case command.verb == "SUB" && !c.open.begin(command.sid):
		c.end("maximum subscriptions exceeded")
		return errProtocol
	case command.verb == "UNSUB":
		c.open.end(command.sid, command.max)
	}
	if err := c.server.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := c.server.Write(command.text())
	return err
}

// fromServer passes on what the server sends: in whole messages, so that what the proxy itself
// says comes between two of them, and none when the key may read no longer.
func (c *client) fromServer(ctx context.Context) error {
	var chunk []byte
	for {
		line, err := c.fromThat.ReadSlice('\n')
		if err != nil {
			return err
		}
		sid, n, err := readMessage(line)
		if err != nil {
			return err
		}
		c.open.deliver(sid)
		chunk = append(chunk, line...)
		chunk = append(chunk, make([]byte, n)...)
		if _, err := io.ReadFull(c.fromThat, chunk[len(chunk)-n:]); err != nil {
			return err
		}
		if c.fromThat.Buffered() > 0 && len(chunk) < chunkBytes {
			continue
		}
		if c.reader.StillMay() != nil {
			c.end(errRevoked)
			return errNotValid
		}
		if err := c.reader.Reading(ctx); err != nil {
			c.end(errUnavailable)
			return err
		}
		if err := c.write(chunk); err != nil {
			return err
		}
		if chunk = chunk[:0]; cap(chunk) > 8*chunkBytes {
			chunk = nil
		}
	}
}

// readMessage reads the line of a message, MSG subject sid [reply] [size] size: of which subscription it
// is, and how many bytes follow. Other lines have neither.
func readMessage(line []byte) (sid string, n int, err error) {
	words := bytes.Fields(line)
	if len(words) < 4 || !bytes.Equal(words[0], []byte("MSG")) && !bytes.Equal(words[0], []byte("HMSG")) {
		return "", 0, nil
	}
	n, err = strconv.Atoi(string(words[len(words)-1]))
	if err != nil || n < 0 || n > maxMessage {
		return "", 0, fmt.Errorf("the server's message of %q bytes", words[len(words)-1])
	}
	return string(words[2]), n + len("\r\n"), nil
}

// write sends to the client, if the connection has not ended.
func (c *client) write(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return errNotValid
	}
	return c.send(b, writeTimeout)
}

func (c *client) send(b []byte, timeout time.Duration) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if _, err := c.conn.Write(b); err != nil {
		return errSlow
	}
	return nil
}

// end says the last that the client hears, and closes its connection. What is on its way to a
// client that takes nothing is cut off.
func (c *client) end(text string) {
	if !c.mu.TryLock() {
		_ = c.conn.Close()
		return
	}
	defer c.mu.Unlock()
	if !c.ended {
		c.ended = true
		_ = c.send(fmt.Appendf(nil, "-ERR '%s'\r\n", text), time.Second)
		_ = c.conn.Close()
	}
}
