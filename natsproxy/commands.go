package natsproxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// errProtocol is of a client that does not speak the protocol, or goes past its bounds.
var errProtocol = errors.New("unknown protocol operation")

// A command is one of a client, taken apart. What the server is sent is made of it, and is
// nothing that the client wrote: the two cannot read it in different ways.
type command struct {
	verb    string // of those in readCommand
	subject string
	reply   string
	sid     string
	max     int // UNSUB: messages after which it ends; 0: at once
	payload []byte
}

// readCommand reads the next command. Of what it does not know it reads the payload too, so that
// the client can go on.
func readCommand(in *bufio.Reader) (c command, err error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return c, err
	}
	words := strings.Fields(string(line))
	if len(words) == 0 {
		return c, errProtocol
	}
	c.verb, words = strings.ToUpper(words[0]), words[1:]
	switch c.verb {
	case "PING", "PONG":
		return c, count(words, 0, 0)
	case "SUB":
		err = c.sub(words)
	case "UNSUB":
		err = c.unsub(words)
	case "PUB":
		err = c.pub(in, words, 0)
	case "HPUB":
		err = c.pub(in, words, 1)
	default:
		err = errProtocol
	}
	return c, err
}

func count(words []string, least, most int) error {
	if len(words) < least || len(words) > most {
		return errProtocol
	}
	return nil
}

// sub takes SUB subject sid apart. A queue group would have no other member.
func (c *command) sub(words []string) error {
	if err := count(words, 2, 2); err != nil {
		return err
	}
	c.subject, c.sid = words[0], words[1]
	return checkSID(c.sid)
}

// unsub takes UNSUB sid [max] apart.
func (c *command) unsub(words []string) (err error) {
	if err := count(words, 1, 2); err != nil {
		return err
	}
	if c.sid = words[0]; len(words) == 2 {
		c.max, err = size(words[1], 1<<31-1)
	}
	return errors.Join(err, checkSID(c.sid))
}

// pub takes PUB subject [reply] size apart, or HPUB with one more size before, and reads the payload.
func (c *command) pub(in *bufio.Reader, words []string, sizes int) error {
	if err := count(words, 2+sizes, 3+sizes); err != nil {
		return err
	}
	if c.subject = words[0]; len(words) == 3+sizes {
		c.reply = words[1]
	}
	n, err := size(words[len(words)-1], maxPayload)
	if err != nil {
		return err
	}
	c.payload = make([]byte, n+2)
	if _, err := io.ReadFull(in, c.payload); err != nil {
		return err
	}
	if !bytes.HasSuffix(c.payload, []byte("\r\n")) {
		return errProtocol
	}
	c.payload = c.payload[:n]
	return nil
}

func size(text string, most int) (int, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || n > uint64(most) {
		return 0, errProtocol
	}
	return int(n), nil
}

// checkSID takes what client libraries name subscriptions by: short numbers.
func checkSID(sid string) error {
	if len(sid) > 20 || !token(sid) {
		return errProtocol
	}
	return nil
}

// text is the command as the server is sent it.
func (c *command) text() []byte {
	switch c.verb {
	case "SUB":
		return fmt.Appendf(nil, "SUB %s %s\r\n", c.subject, c.sid)
	case "UNSUB":
		if c.max > 0 {
			return fmt.Appendf(nil, "UNSUB %s %d\r\n", c.sid, c.max)
		}
		return fmt.Appendf(nil, "UNSUB %s\r\n", c.sid)
	case "PUB":
		return fmt.Appendf(nil, "PUB %s %s %d\r\n%s\r\n", c.subject, c.reply, len(c.payload), c.payload)
	}
	return []byte(c.verb + "\r\n") // PING, PONG
}

// The subjects of the requests that are passed on: what is behind them is a stream and a
// consumer, and of an acknowledgement a number of numbers.
const (
	nextSubject = "$JS.API.CONSUMER.MSG.NEXT."
	infoSubject = "$JS.API.CONSUMER.INFO."
	ackSubject  = "$JS.ACK."
)

// ackTokens is how many tokens an acknowledgement's subject has behind the consumer: deliveries,
// position in the stream, in the consumer, time, messages to come.
const ackTokens = 5

// judge says why a client may not do this, "" if it may.
func (c *command) judge(r *Reader) (denial string) {
	switch c.verb {
	case "SUB":
		if !inbox(c.subject) {
			return fmt.Sprintf("Permissions Violation for Subscription to %q", printable(c.subject))
		}
	case "PUB":
		if !c.request(r) {
			return fmt.Sprintf("Permissions Violation for Publish to %q", printable(c.subject))
		}
		if c.reply != "" && (!inbox(c.reply) || strings.ContainsAny(c.reply, "*>")) {
			return fmt.Sprintf("Permissions Violation for Publish with Reply of %q", printable(c.reply))
		}
	case "HPUB": // a header could ask the server for more than the subject does: a trace of the message, sent elsewhere
		return fmt.Sprintf("Permissions Violation for Publish to %q", printable(c.subject))
	}
	return ""
}

// request tells whether the subject is that of a request about a consumer that r reads from.
func (c *command) request(r *Reader) bool {
	for prefix, numbers := range map[string]int{nextSubject: 0, infoSubject: 0, ackSubject: ackTokens} {
		rest, found := strings.CutPrefix(c.subject, prefix)
		if !found {
			continue
		}
		tokens := strings.Split(rest, ".")
		if len(tokens) != 2+numbers || !token(tokens[0]) || !token(tokens[1]) || !r.Reads(tokens[0], tokens[1]) {
			return false
		}
		for _, n := range tokens[2:] {
			if _, err := strconv.ParseUint(n, 10, 64); err != nil {
				return false
			}
		}
		return true
	}
	return false
}

// inboxRoot begins the subjects that clients have answers sent to.
const inboxRoot = "_INBOX."

// minInbox is how long the name of an inbox must be. Client libraries make them of 22 random
// characters, so that no client can name another one's.
const minInbox = 22

// inbox tells whether a subject is in an inbox that only who made it can name. Behind the name
// there may be more, and wildcards.
func inbox(subject string) bool {
	rest, found := strings.CutPrefix(subject, inboxRoot)
	if !found {
		return false
	}
	tokens := strings.Split(rest, ".")
	if len(tokens[0]) < minInbox || !token(tokens[0]) {
		return false
	}
	for i, t := range tokens[1:] {
		if !token(t) && t != "*" && (t != ">" || i != len(tokens)-2) {
			return false
		}
	}
	return true
}

// token tells whether s is a token of a subject in the characters that client libraries use.
func token(s string) bool {
	for _, b := range []byte(s) {
		if !('0' <= b && b <= '9' || 'A' <= b && b <= 'Z' || 'a' <= b && b <= 'z' || b == '_' || b == '-') {
			return false
		}
	}
	return s != ""
}

// printable is the beginning of a subject as it is told back.
func printable(s string) string {
	if len(s) > 256 {
		s = s[:256]
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' || r == '\'' {
			return '?'
		}
		return r
	}, s)
}
