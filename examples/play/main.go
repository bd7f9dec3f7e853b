// Command play plays the transcript of an example against a real service and a real nginx.
//
//	go run ./examples/play examples/pingd
//
// The folder has a keyspace.yaml, and may have a plans.yaml, which are applied with the command line, an nginx.conf to be
// included in http { }, and a transcript.txt: a request line, headers of it after ">", then the
// status and the body of the answer, headers of it after "<". Paths below /v1/ are asked of
// Keytrail with the root key, all others of nginx. «name» in an answer captures what is there,
// $name puts it into a later line, … stands for anything, and a body that is left out is not
// looked at. A GET of Keytrail is repeated for a while until its answer is right. Lines that begin
// with # are prose.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// timeout is how long the service or nginx may take to start, and an answer to become right.
const timeout = 10 * time.Second

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: play FOLDER")
		os.Exit(2)
	}
	folder, err := filepath.Abs(os.Args[1])
	if err == nil {
		err = run(folder)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(folder), err)
		os.Exit(1)
	}
	fmt.Printf("%s: the transcript is true\n", filepath.Base(folder))
}

func run(folder string) (err error) {
	work, err := os.MkdirTemp("", "play")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := os.Chmod(work, 0o755); err != nil { // nginx's workers are another user
		return err
	}
	s := stage{folder: folder, work: work}
	defer s.stop()
	for _, step := range []func() error{s.startService, s.applyFiles, s.startNginx} {
		if err := step(); err != nil {
			return err
		}
	}
	return s.play()
}

// A stage is a service behind nginx.
type stage struct {
	folder, work   string
	binary         string
	service, nginx string // where they listen
	root           string // the root key
	processes      []*exec.Cmd
}

func (s *stage) stop() {
	for _, p := range s.processes {
		_ = p.Process.Signal(syscall.SIGTERM)
		_ = p.Wait()
	}
}

func (s *stage) start(name string, arguments ...string) error {
	log, err := os.Create(filepath.Join(s.work, filepath.Base(name)+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(name, arguments...)
	cmd.Stderr = log
	s.processes = append(s.processes, cmd)
	return cmd.Start()
}

// await waits for ready, at most timeout.
func (s *stage) await(what string, ready func() bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ready() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not start", what)
		case <-tick.C:
		}
	}
	return nil
}

func (s *stage) startService() (err error) {
	s.binary = filepath.Join(s.work, "keytrail")
	if out, err := exec.Command("go", "build", "-o", s.binary, "github.com/keytrail/keytrail/cmd/keytrail").CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w: %s", err, out)
	}
	if s.service, err = freeAddress(); err != nil {
		return err
	}
	data := filepath.Join(s.work, "data")
	if err := s.start(s.binary, "serve", "--data", data, "--listen", s.service, "--trusted-proxies", "127.0.0.1/32"); err != nil {
		return err
	}
	if err := s.await("keytrail", func() bool { return answers("http://" + s.service + "/readyz") }); err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(data, "root.key"))
	s.root = strings.TrimSpace(string(key))
	return err
}

// applyFiles applies the keyspace, and the plans if there are some.
func (s *stage) applyFiles() error {
	if plans := filepath.Join(s.folder, "plans.yaml"); exists(plans) {
		if err := s.apply("plans", plans); err != nil {
			return err
		}
	}
	return s.apply("keyspaces", filepath.Join(s.folder, "keyspace.yaml"))
}

func exists(file string) bool { _, err := os.Stat(file); return err == nil }

func (s *stage) apply(kind, file string) error {
	cmd := exec.Command(s.binary, kind, "apply", "-f", file)
	cmd.Env = append(os.Environ(), "KEYTRAIL_URL=http://"+s.service, "KEYTRAIL_KEY="+s.root)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apply: %w: %s", err, out)
	}
	return nil
}

// nginxConf is the rest of what nginx needs. The backend answers what it was told of the key.
const nginxConf = `daemon off; pid %[1]s/pid; error_log %[1]s/error.log;
events {}
http {
  access_log off;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  %[2]s
  server { listen %[3]s; location / { return 200 "key=$http_x_keytrail_key_id org=$http_x_keytrail_org_id owner=$http_x_keytrail_owner scopes=$http_x_keytrail_scopes"; } }
}
`

func (s *stage) startNginx() (err error) {
	ours, err := os.ReadFile(filepath.Join(s.folder, "nginx.conf"))
	if err != nil {
		return err
	}
	if s.nginx, err = freeAddress(); err != nil {
		return err
	}
	backend, err := freeAddress()
	if err != nil {
		return err
	}
	conf := strings.NewReplacer("127.0.0.1:8080", s.service, "127.0.0.1:8081", backend, "listen 80;", "listen "+s.nginx+";").Replace(string(ours))
	if err := s.copyIncludes(); err != nil {
		return err
	}
	file := filepath.Join(s.work, "nginx.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, nginxConf, s.work, conf, backend), 0o644); err != nil {
		return err
	}
	if err := s.start("nginx", "-c", file); err != nil {
		return err
	}
	if err := s.await("nginx", func() bool { return listens(s.nginx) }); err != nil {
		log, _ := os.ReadFile(filepath.Join(s.work, "nginx.log"))
		return fmt.Errorf("%w: %s", err, log)
	}
	return nil
}

// copyIncludes puts what the examples' configurations include beside that of nginx.
func (s *stage) copyIncludes() error {
	files, err := filepath.Glob(filepath.Join(s.folder, "..", "nginx", "keytrail-*.conf"))
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(filepath.Join(s.work, filepath.Base(file)), text, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// freeAddress is one that nothing listened on a moment ago.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func listens(address string) bool {
	c, err := net.Dial("tcp", address)
	if err == nil {
		_ = c.Close()
	}
	return err == nil
}

func answers(url string) bool {
	r, err := http.Get(url)
	if err == nil {
		_ = r.Body.Close()
	}
	return err == nil && r.StatusCode == http.StatusOK
}

// An exchange is a request of the transcript and what is expected of its answer.
type exchange struct {
	line                int
	method, path, body  string
	headers, wantHeader []string
	wantStatus          string
	wantBody            string // "": anything
}

var requestLine = regexp.MustCompile(`^[A-Z]+ /`)

func (s *stage) play() error {
	text, err := os.ReadFile(filepath.Join(s.folder, "transcript.txt"))
	if err != nil {
		return err
	}
	vars := map[string]string{}
	var e *exchange
	end := func() error {
		if e == nil {
			return nil
		}
		return s.repeat(e, vars)
	}
	for n, line := range strings.Split(string(text), "\n") {
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case requestLine.MatchString(line):
			if err := end(); err != nil {
				return err
			}
			parts := append(strings.SplitN(line, " ", 3), "")
			e = &exchange{line: n + 1, method: parts[0], path: parts[1], body: parts[2]}
		case strings.HasPrefix(line, "> "):
			e.headers = append(e.headers, line[2:])
		case strings.HasPrefix(line, "< "):
			e.wantHeader = append(e.wantHeader, line[2:])
		default:
			e.wantStatus, e.wantBody, _ = strings.Cut(line, " ")
		}
	}
	return end()
}

// repeat asks Keytrail a question again for a while if the answer is not the right one: when a key
// was used last is known a moment after the use.
func (s *stage) repeat(e *exchange, vars map[string]string) (err error) {
	if e.method != http.MethodGet || !strings.HasPrefix(e.path, "/v1/") {
		return s.exchange(e, vars)
	}
	_ = s.await("it", func() bool { err = s.exchange(e, vars); return err == nil })
	return err
}

// exchange sends the request and holds the answer to what is expected.
func (s *stage) exchange(e *exchange, vars map[string]string) error {
	fill := func(text string) string {
		return os.Expand(text, func(name string) string { return vars[name] })
	}
	host := s.nginx
	if strings.HasPrefix(e.path, "/v1/") {
		host = s.service
	}
	r, err := http.NewRequest(e.method, "http://"+host+fill(e.path), strings.NewReader(fill(e.body)))
	if err != nil {
		return err
	}
	if host == s.service {
		r.Header.Set("Authorization", "Bearer "+s.root)
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range e.headers {
		name, value, _ := strings.Cut(fill(h), ":")
		r.Header.Set(name, strings.TrimPrefix(value, " "))
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return fmt.Errorf("line %d: %w", e.line, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if err := e.check(answer, bytes.TrimRight(body, "\n"), fill, vars); err != nil {
		return fmt.Errorf("line %d: %w\nthe answer was %s %v\n%s", e.line, err, answer.Status, answer.Header, body)
	}
	return nil
}

func (e *exchange) check(answer *http.Response, body []byte, fill func(string) string, vars map[string]string) error {
	if fmt.Sprint(answer.StatusCode) != e.wantStatus {
		return fmt.Errorf("want the status %s", e.wantStatus)
	}
	for _, h := range e.wantHeader {
		name, want, _ := strings.Cut(fill(h), ":")
		if err := match(strings.TrimPrefix(want, " "), answer.Header.Get(name), vars); err != nil {
			return fmt.Errorf("the header %s: %w", name, err)
		}
	}
	if e.wantBody == "" {
		return nil
	}
	return match(fill(e.wantBody), string(body), vars)
}

var capture = regexp.MustCompile(`«(\w+)»`)

// match holds a text to a pattern, and keeps what is captured in vars.
func match(want, got string, vars map[string]string) error {
	var names []string
	pattern := capture.ReplaceAllStringFunc(regexp.QuoteMeta(want), func(m string) string {
		names = append(names, strings.Trim(m, "«»"))
		return `([^"]+?)`
	})
	m := regexp.MustCompile("(?s)^" + strings.ReplaceAll(pattern, "…", ".*") + "$").FindStringSubmatch(got)
	if m == nil {
		return fmt.Errorf("want %s", want)
	}
	for i, name := range names {
		vars[name] = m[i+1]
	}
	return nil
}
