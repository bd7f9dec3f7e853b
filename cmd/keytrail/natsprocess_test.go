package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsVariable makes this test binary a NATS server, with the options in it.
const natsVariable = "NATS_PROCESS"

// A natsProcess is a real NATS server that can be frozen and killed, unlike one inside the
// test: the test binary runs itself as one.
type natsProcess struct {
	Name     string
	Port     int
	Monitor  int // port of its HTTP monitoring
	Cluster  int // port for the others, 0: it is alone
	Routes   []string
	Dir      string
	Unsynced bool
	cmd      *exec.Cmd
	said     *safeBuffer
}

func (p *natsProcess) url() string        { return fmt.Sprintf("nats://127.0.0.1:%d", p.Port) }
func (p *natsProcess) monitorURL() string { return fmt.Sprintf("http://127.0.0.1:%d", p.Monitor) }

// natsMain is the server's main. It stops in good order at SIGTERM.
func natsMain(text string) {
	var p natsProcess
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		panic(err)
	}
	o := &server.Options{ServerName: p.Name, Host: "127.0.0.1", Port: p.Port, HTTPHost: "127.0.0.1", HTTPPort: p.Monitor, NoSigs: true,
		JetStream: true, StoreDir: p.Dir, SyncAlways: !p.Unsynced, JetStreamMaxStore: 1 << 40, JetStreamMaxMemory: 1 << 30}
	if p.Cluster != 0 {
		o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: p.Cluster}
		for _, r := range p.Routes {
			o.Routes = append(o.Routes, must(url.Parse(r)))
		}
	}
	s := must(server.NewServer(o))
	s.ConfigureLogger()
	s.Start()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
	s.Shutdown()
	s.WaitForShutdown()
	os.Exit(0)
}

// start runs the server, again if it has ended; its directory and ports stay.
func (p *natsProcess) start(t testing.TB) {
	t.Helper()
	p.cmd, p.said = exec.Command(must(os.Executable())), &safeBuffer{}
	p.cmd.Env = append(os.Environ(), natsVariable+"="+string(must(json.Marshal(p))))
	p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	running := p.cmd
	t.Cleanup(func() { _ = running.Process.Kill(); _ = running.Wait() })
}

func (p *natsProcess) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// freeze stops the process where it stands; its connections stay open.
func (p *natsProcess) freeze(t testing.TB) { t.Helper(); p.signal(t, syscall.SIGSTOP) }
func (p *natsProcess) thaw(t testing.TB)   { t.Helper(); p.signal(t, syscall.SIGCONT) }

// end ends the process with a signal: SIGTERM in good order, SIGKILL at once.
func (p *natsProcess) end(t testing.TB, s syscall.Signal) {
	t.Helper()
	p.signal(t, s)
	_ = p.cmd.Wait()
}

// natsProcesses starts n servers as processes, a cluster if there are several, and waits
// until they can hold streams.
func natsProcesses(t testing.TB, n int) (all []*natsProcess, urls string) {
	t.Helper()
	var routes, addresses []string
	for i := range n {
		p := &natsProcess{Name: fmt.Sprintf("n%d", i), Port: freePort(t), Monitor: freePort(t), Dir: t.TempDir()}
		if n > 1 {
			p.Cluster = freePort(t)
			routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", p.Cluster))
		}
		all, addresses = append(all, p), append(addresses, p.url())
	}
	for _, p := range all {
		p.Routes = routes
		p.start(t)
	}
	urls = strings.Join(addresses, ",")
	until(t, "the servers can hold streams", func() bool {
		nc, err := nats.Connect(urls)
		if err != nil {
			return false
		}
		defer nc.Close()
		js := must(jetstream.New(nc))
		if _, err := js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "PROBE", Replicas: n}); err != nil {
			return false
		}
		return js.DeleteStream(t.Context(), "PROBE") == nil
	})
	return all, urls
}

// watcher is a connection of the test's own, which goes to one server if asked for.
func watcher(t testing.TB, urls string) jetstream.JetStream {
	t.Helper()
	nc := must(nats.Connect(urls, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.PingInterval(time.Second), nats.Timeout(time.Second)))
	t.Cleanup(nc.Close)
	return must(jetstream.New(nc))
}

// named finds a process by its server's name.
func named(t testing.TB, all []*natsProcess, name string) *natsProcess {
	t.Helper()
	for _, p := range all {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("no server %q", name)
	return nil
}
