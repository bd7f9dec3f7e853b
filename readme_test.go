package keytrail_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestREADME runs the README's commands for real, and compares what they print with what
// it shows. In a shown output … stands for anything.
func TestREADME(t *testing.T) {
	blocks := fences(t, "README.md")
	for kind := range blocks {
		if !slices.Contains([]string{"sh run", "sh test", "sh tour", "output"}, kind) {
			t.Errorf("no test runs the README's %q", kind)
		}
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	url := serveAsTold(t, blocks["sh run"][0], here, dir)
	if err := os.Symlink(filepath.Join(here, "examples"), filepath.Join(dir, "examples")); err != nil {
		t.Fatal(err)
	}
	var script, shown strings.Builder
	script.WriteString("set -e\n")
	for _, b := range blocks["sh tour"] {
		// The build needs the module's folder; all else runs in the new user's.
		script.WriteString(strings.ReplaceAll(b, "go build -o keytrail ./cmd/keytrail", "(cd "+here+" && go build -o "+dir+"/keytrail ./cmd/keytrail)"))
	}
	for _, b := range blocks["output"] {
		shown.WriteString(b)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", strings.ReplaceAll(script.String(), "http://127.0.0.1:8080", url))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "KEYTRAIL_URL="+url)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	compare(t, string(out), shown.String())
	if got := blocks["sh test"]; len(got) != 1 || got[0] != "go test ./...\n" {
		t.Errorf("the README passes the tests with %q", got)
	}
}

// fences are the contents of a file's code blocks, by what is said after the fence.
func fences(t *testing.T, path string) map[string][]string {
	blocks := map[string][]string{}
	for _, m := range regexp.MustCompile("(?ms)^```([a-z ]+)\n(.*?)^```$").FindAllStringSubmatch(read(t, path), -1) {
		blocks[m[1]] = append(blocks[m[1]], m[2])
	}
	return blocks
}

// serveAsTold starts the service with the README's command, but on a free port and in a
// new user's folder, and gives its address.
func serveAsTold(t *testing.T, command, here, dir string) string {
	binary := filepath.Join(dir, "served")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cmd/keytrail")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	args := strings.Fields(strings.ReplaceAll(command, "go run ./cmd/keytrail", ""))
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, append(args, "--listen", "127.0.0.1:0")...)
	cmd.Dir = dir
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	lines := bufio.NewScanner(errs)
	for lines.Scan() {
		if m := regexp.MustCompile(`ready on (http://\S+)`).FindStringSubmatch(lines.Text()); m != nil {
			go func() {
				for lines.Scan() {
				}
			}()
			return m[1]
		}
	}
	t.Fatal("the service ended without being ready")
	return ""
}

func compare(t *testing.T, got, want string) {
	gotLines, wantLines := strings.Split(strings.TrimSpace(got), "\n"), strings.Split(strings.TrimSpace(want), "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		var g, w string
		if i < len(gotLines) {
			g = gotLines[i]
		}
		if i < len(wantLines) {
			w = wantLines[i]
		}
		pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(w), "…", ".+") + "$"
		if !regexp.MustCompile(pattern).MatchString(g) {
			t.Errorf("line %d is\n  %s\nand the README shows\n  %s", i+1, g, w)
		}
	}
}
