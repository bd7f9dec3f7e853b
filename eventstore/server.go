package eventstore

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/keytrail/keytrail/internal/filelock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// A Server is a NATS server inside this process, without a port, whose acknowledgements
// mean that the message is on disk.
type Server struct {
	nats    *server.Server
	lock    *os.File
	log     *slog.Logger
	dir     string
	staging string // the directory in memory for atomic batches, ""
}

// StartServer runs a server on dir, which it locks: the server itself takes no lock, and
// two of them on one directory would both acknowledge the same position.
func StartServer(dir string, log *slog.Logger) (*Server, error) { return startServer(dir, log, true) }

// StartUnsyncedServer is StartServer without an fsync for each message, for filling a
// directory that can be thrown away: a bench, a test.
func StartUnsyncedServer(dir string, log *slog.Logger) (*Server, error) {
	return startServer(dir, log, false)
}

func startServer(dir string, log *slog.Logger, sync bool) (*Server, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	left := leftStaging(dir)
	s, err := server.NewServer(serverOptions(dir, sync))
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s.SetLoggerV2(serverLog{log}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		s.Shutdown()
		return nil, errors.Join(fmt.Errorf("the ledger in %s did not become ready within 30 s", dir), lock.Close())
	}
	if err := unreadStreams(s, dir); err != nil {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, errors.Join(err, lock.Close())
	}
	_ = os.RemoveAll(left) // the server has taken from it what it needed
	return &Server{nats: s, lock: lock, log: log, dir: dir}, nil
}

// StageInMemory makes the server prepare atomic batches in memory where the system has it, which
// takes a third of the time. It is called when the streams are there.
func (s *Server) StageInMemory() {
	var err error
	if s.staging, err = stageInMemory(s.dir); err != nil {
		s.log.Warn("atomic batches are prepared on the disk, which is slower", "err", err)
	}
}

// unreadStreams refuses a directory with messages of a stream that the server does not have:
// it passes over a stream whose metadata it cannot read, as a crash while these are written
// can leave them, and the stream would be made again, empty.
func unreadStreams(s *server.Server, dir string) error {
	state, err := s.Jsz(&server.JSzOptions{Accounts: true, Streams: true})
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, account := range state.AccountDetails {
		for _, stream := range account.Streams {
			known[stream.Name] = true
		}
	}
	blocks, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "*", "msgs", "*.blk"))
	for _, b := range blocks {
		stream := filepath.Dir(filepath.Dir(b))
		if strings.HasPrefix(filepath.Base(stream), sinkStreams) {
			continue // a copy, which is made again: a crash while it is deleted can leave such a one
		}
		if info, err := os.Stat(b); err == nil && info.Size() > 0 && !known[filepath.Base(stream)] {
			return fmt.Errorf("the ledger's stream in %s cannot be read, for its meta.inf and meta.sum are not of one piece: nothing is served; put both back from a copy of the directory, or restore a back-up", stream)
		}
	}
	return err
}

// serverOptions sets what touches exposure, durability, size and time; the rest is the
// library's.
func serverOptions(dir string, sync bool) *server.Options {
	return &server.Options{
		ServerName: "keytrail", NoSigs: true, JetStream: true, StoreDir: dir,

		// Nothing outside this process reaches it: no port for clients, monitoring, profiles or
		// other servers, and no account whose user could change it.
		DontListen: true, NoSystemAccount: true,

		// A message is on disk before it is acknowledged. SyncInterval is for what is not a
		// message; a loss there costs a longer start.
		SyncAlways: sync, SyncInterval: 2 * time.Minute,

		// Free disk space is watched by the service, which stops in good order before there is
		// none. A limit of the server's own would come first: its default is three quarters of
		// what is free at the start.
		JetStreamMaxStore: math.MaxInt64,

		// No stream is in memory.
		JetStreamMaxMemory: 64 << 20,

		// An event is a few KiB, a message of uses under 64 KiB.
		MaxPayload: maxMessage,

		// A reader that does not take what it asked for is this process itself, stalled: its
		// connection must outlive a stall, and what waits for it is bounded by what readers ask
		// for at once.
		WriteDeadline: time.Minute, MaxPending: 1 << 30, PingInterval: time.Minute, MaxPingsOut: 10,
	}
}

func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := filelock.Lock(f); err != nil {
		_ = f.Close()
		if errors.Is(err, filelock.ErrLocked) {
			return nil, fmt.Errorf("another process is using %s: stop it, or give this one a directory of its own", dir)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}

// Connect is a connection inside the process.
func (s *Server) Connect() (*nats.Conn, error) {
	return nats.Connect("", nats.InProcessServer(s.nats), nats.Name("keytrail"), logged(s.log),
		nats.MaxReconnects(-1), nats.ReconnectBufSize(-1), // as for an external server
		nats.PingInterval(time.Minute), nats.MaxPingsOutstanding(10)) // a stall of the process is no loss of the server
}

// Close stops the server when everything is on disk, and gives up the lock.
func (s *Server) Close() {
	s.nats.Shutdown()
	s.nats.WaitForShutdown()
	_ = os.RemoveAll(s.staging) // the next start takes the link to it away
	_ = s.lock.Close()
}

// serverLog passes on what an operator should know: the server's own start-up lines are noise.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Noticef(string, ...any) {}
func (l serverLog) Debugf(string, ...any)  {}
func (l serverLog) Tracef(string, ...any)  {}
func (l serverLog) Warnf(format string, v ...any) {
	l.log.Warn("nats server", "text", fmt.Sprintf(format, v...))
}
func (l serverLog) Errorf(format string, v ...any) {
	l.log.Error("nats server", "text", fmt.Sprintf(format, v...))
}
func (l serverLog) Fatalf(format string, v ...any) {
	l.log.Error("nats server", "text", fmt.Sprintf(format, v...))
}
