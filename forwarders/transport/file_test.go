package transport

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/keytrail/keytrail/domain"
)

func fileSink(t *testing.T, directory string, s domain.SinkSettings) Sender {
	t.Helper()
	e := loopback
	e.Files = directory
	sender, err := New(Receiver{SinkDefinition: domain.SinkDefinition{Type: domain.SinkFile, Settings: s}}, e)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sender.Close() })
	return sender
}

// linesOf are the bodies of events as a file has them.
func linesOf(events []Event) (text string) {
	for i := range events {
		text += string(events[i].Body) + "\n"
	}
	return text
}

func holds(t *testing.T, file, want string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil || string(text) != want {
		t.Errorf("%s: %v; %d bytes %.60q instead of %d bytes %.60q", filepath.Base(file), err, len(text), text, len(want), want)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// TestAFileAfterACrash: each prefix of what was written is a state that a crash can leave. What comes
// again is there once.
func TestAFileAfterACrash(t *testing.T) {
	all := someEvents(6, "a", "b")
	whole := linesOf(all)
	for n := range len(whole) + 1 {
		directory := t.TempDir()
		file := filepath.Join(directory, "events.ndjson")
		if err := os.WriteFile(file, []byte(whole[:n]), 0o600); err != nil {
			t.Fatal(err)
		}
		s := fileSink(t, directory, domain.SinkSettings{Path: "events.ndjson"})
		for i := range all {
			accepted(t, s.Send(t.Context(), all[i:i+1]))
		}
		holds(t, file, whole)
	}
}

// TestAFileAfterACrashBetweenTwo: the file was renamed, and the next one is not there yet.
func TestAFileAfterACrashBetweenTwo(t *testing.T) {
	directory := t.TempDir()
	all := someEvents(4, "a")
	if err := os.WriteFile(filepath.Join(directory, "f.1"), []byte(linesOf(all[:3])), 0o600); err != nil {
		t.Fatal(err)
	}
	accepted(t, fileSink(t, directory, domain.SinkSettings{Path: "f"}).Send(t.Context(), all[1:]))
	holds(t, filepath.Join(directory, "f"), linesOf(all[3:]))
}

// TestAReplayIsWrittenAgain: only what a restart sends again is left out.
func TestAReplayIsWrittenAgain(t *testing.T) {
	directory := t.TempDir()
	s := fileSink(t, directory, domain.SinkSettings{Path: "a/b/events.ndjson"})
	all := someEvents(4, "a")
	accepted(t, s.Send(t.Context(), all))
	accepted(t, s.Send(t.Context(), all))
	holds(t, filepath.Join(directory, "a/b/events.ndjson"), linesOf(all)+linesOf(all))
}

func TestAFileIsRotated(t *testing.T) {
	directory := t.TempDir()
	file := filepath.Join(directory, "f")
	s := fileSink(t, directory, domain.SinkSettings{Path: "f", MaxMegabytes: 1, MaxFiles: 2})
	var parts []string
	for i := range 4 {
		one := []Event{{Body: bytes.Repeat([]byte{byte('a' + i)}, 700<<10)}}
		parts = append(parts, linesOf(one))
		accepted(t, s.Send(t.Context(), one))
	}
	holds(t, file, parts[3])
	holds(t, file+".1", parts[2])
	holds(t, file+".2", parts[1])
	if files, _ := os.ReadDir(directory); len(files) != 3 {
		t.Errorf("%v", files)
	}
}

// TestAFileThatIsMovedAway is what logrotate does, and an operator who deletes it.
func TestAFileThatIsMovedAway(t *testing.T) {
	directory := t.TempDir()
	file := filepath.Join(directory, "f")
	s := fileSink(t, directory, domain.SinkSettings{Path: "f"})
	all := someEvents(3, "a")
	accepted(t, s.Send(t.Context(), all[:1]))
	if err := os.Rename(file, file+".moved"); err != nil {
		t.Fatal(err)
	}
	accepted(t, s.Send(t.Context(), all[1:2]))
	holds(t, file+".moved", linesOf(all[:1]))
	holds(t, file, linesOf(all[1:2]))
	if err := os.Truncate(file, 0); err != nil { // copytruncate
		t.Fatal(err)
	}
	accepted(t, s.Send(t.Context(), all[2:]))
	holds(t, file, linesOf(all[2:]))
}

// TestAFileStaysInItsDirectory tries paths and links that lead out of it.
func TestAFileStaysInItsDirectory(t *testing.T) {
	outside := t.TempDir()
	for what, prepare := range map[string]func(directory string) (path string, err error){
		"a path upwards":   func(string) (string, error) { return "../x", nil },
		"an absolute path": func(string) (string, error) { return filepath.Join(outside, "x"), nil },
		"a link to a file": func(d string) (string, error) {
			return "x", os.Symlink(filepath.Join(outside, "x"), filepath.Join(d, "x"))
		},
		"a link to a folder": func(d string) (string, error) { return "l/x", os.Symlink(outside, filepath.Join(d, "l")) },
		"a folder":           func(d string) (string, error) { return "x", os.Mkdir(filepath.Join(d, "x"), 0o700) },
		"a pipe":             func(d string) (string, error) { return "x", syscall.Mkfifo(filepath.Join(d, "x"), 0o600) },
	} {
		directory := t.TempDir()
		path, err := prepare(directory)
		if err != nil {
			t.Fatal(err)
		}
		s := fileSink(t, directory, domain.SinkSettings{Path: path})
		r := s.Send(t.Context(), someEvents(1, "a"))
		if len(r.Failed) != 1 || r.Failed[0].Kind != Again {
			t.Errorf("%s: %+v", what, r)
		} else if strings.Contains(r.Failed[0].Text, directory) {
			t.Errorf("%s: its text names the directory: %s", what, r.Failed[0].Text)
		}
	}
	if files, _ := os.ReadDir(outside); len(files) != 0 {
		t.Errorf("%v", files)
	}
	if _, err := New(Receiver{SinkDefinition: domain.SinkDefinition{Type: domain.SinkFile}}, loopback); err == nil {
		t.Error("there is a file without --sink-files")
	}
}

// BenchmarkFile writes and syncs batches of 3 MB.
func BenchmarkFile(b *testing.B) {
	e := loopback
	e.Files = b.TempDir()
	s, err := New(Receiver{SinkDefinition: domain.SinkDefinition{Type: domain.SinkFile, Settings: domain.SinkSettings{Path: "f"}}}, e)
	if err != nil {
		b.Fatal(err)
	}
	events := make([]Event, 5000)
	for i := range events {
		events[i].Body = fmt.Appendf(nil, "%0600d", i)
	}
	for b.Loop() {
		if r := s.Send(b.Context(), events); len(r.Failed) > 0 {
			b.Fatal(r.Failed[0].Text)
		}
	}
	b.ReportMetric(float64(b.N*len(events))/b.Elapsed().Seconds(), "events/s")
	_ = s.Close()
}
