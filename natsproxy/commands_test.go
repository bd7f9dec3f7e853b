package natsproxy

import (
	"bufio"
	"bytes"
	"regexp"
	"testing"
)

// passed is all that a client of org A's can make the server read.
var passed = regexp.MustCompile(`(?s)\A(PING|PONG|SUB _INBOX\.[\w-]{22,}(\.([\w-]+|\*))*(\.>)? [\w-]{1,20}|UNSUB [\w-]{1,20}( [1-9]\d*)?|` +
	`PUB (\$JS\.API\.CONSUMER\.(INFO|MSG\.NEXT)\.stream\.consumer|\$JS\.ACK\.stream\.consumer(\.\d+){5}) (_INBOX\.[\w-]{22,}(\.[\w-]+)*)? (\d+)\r\n(.*))\r\n\z`)

// FuzzWhatPasses: whatever a client sends, the server reads one command of few kinds.
func FuzzWhatPasses(f *testing.F) {
	for _, text := range []string{"PING\r\n", "sub _INBOX.0123456789abcdefghijkl.* 1\r\n", "UNSUB 1 5\r\n", "PUB $JS.API.CONSUMER.MSG.NEXT.stream.consumer _INBOX.0123456789abcdefghijkl.x 3\r\n100\r\n",
		"PUB $JS.ACK.stream.consumer.1.2.3.4.5 4\r\n+ACK\r\n", "PUB\t$JS.API.CONSUMER.INFO.stream.consumer keytrail.events.x 0\r\n\r\n", "HPUB a 1 2\r\nab\r\n", "SUB _INBOX.\u00a0 1\r\n"} {
		f.Add([]byte(text))
	}
	reader := &Reader{Reads: func(stream, consumer string) bool { return stream == "stream" && consumer == "consumer" }}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := readCommand(bufio.NewReaderSize(bytes.NewReader(text), maxControlLine))
		if err != nil || c.judge(reader) != "" {
			return
		}
		m := passed.FindSubmatch(c.text())
		if m == nil {
			t.Fatalf("%q", c.text())
		}
		if c.verb == "PUB" && !bytes.Equal(m[len(m)-1], c.payload) {
			t.Fatalf("%q is not %q", m[len(m)-1], c.payload)
		}
	})
}
