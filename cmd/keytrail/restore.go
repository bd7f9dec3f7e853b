package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/keytrail/keytrail/backup"
	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/dirsync"
	"github.com/keytrail/keytrail/internal/keyring"
	"github.com/keytrail/keytrail/internal/secretfile"
)

// A restoration brings a back-up back. Its order is its safety: the file is read whole
// before anything is written; the streams are marked as incomplete until what was written
// is on disk and has been read back; then they wait for the operator's word.
type restoration struct {
	Config
	from, revocations string
	confirm           bool
	client            *client
	cmd               *cobra.Command
	log               *slog.Logger
}

func restoreCommand(c *client) *cobra.Command {
	r := &restoration{client: c}
	cmd := &cobra.Command{Use: "restore --from FILE --data DIR", Short: "Restore a back-up into an empty directory or NATS cluster", Args: cobra.NoArgs,
		Long: `Restore a back-up into an empty directory, or with --nats-url into NATS servers that
hold no ledger. Positions and times are what they were; the read model is built by the
next start. The root key is the one of the back-up; if it is lost, make a new one.

A back-up does not know what came after it: a key that was revoked later is good again,
a key that was disabled, narrowed or rotated later is as it was before. Give the
revocations that are known since with --revocations-from: a file that
keytrail events replay --type key.revoked -o FILE wrote, or the address of a service that
still lives. The restored service does not start until --confirm is given, at once or in
a second call without --from.`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := environment(cmd, nil); err != nil {
				return err
			}
			r.cmd = cmd
			if r.log, err = r.logger(cmd.ErrOrStderr()); err != nil {
				return err
			}
			return r.run(cmd.Context())
		}}
	r.ledgerFlags(cmd.Flags())
	r.LogFormat, r.LogLevel = "text", "warn"
	cmd.Flags().StringVar(&r.from, "from", "", "the back-up")
	cmd.Flags().StringVar(&r.revocations, "revocations-from", "", "file or service with the revocations since the back-up")
	cmd.Flags().BoolVar(&r.confirm, "confirm", false, "let the restored ledger be served")
	cmd.MarkFlagsOneRequired("from", "revocations-from", "confirm")
	return cmd
}

func (r *restoration) run(ctx context.Context) error {
	if r.from != "" {
		if err := r.restore(ctx); err != nil {
			return err
		}
	}
	if err := r.isRestored(); err != nil {
		return err
	}
	err := r.onLedger(eventstore.StartServer, func(nc *nats.Conn) error {
		if err := r.sayKeyring(ctx, nc); err != nil {
			return err
		}
		if r.revocations != "" {
			if err := r.revoke(ctx, nc); err != nil {
				return err
			}
		}
		if r.confirm {
			return eventstore.ConfirmRestored(ctx, nc, time.Now())
		}
		return nil
	})
	if err == nil && !r.confirm {
		r.say("It is not served yet: keytrail restore --confirm lets it be, with the same --data or --nats-url.")
	}
	return err
}

// sayKeyring names the keyring that the next start needs.
func (r *restoration) sayKeyring(ctx context.Context, nc *nats.Conn) error {
	ledger, err := eventstore.Open(ctx, nc, eventstore.Options{Existing: true, Unconfirmed: true, Logger: r.log})
	if err != nil {
		return err
	}
	k, err := commands.New(ledger, commands.Options{Logger: r.log}).Keyring(ctx)
	if err != nil || k.Fingerprint == "" {
		return err
	}
	r.say("It needs the keyring with the fingerprint %s as %s.", k.Fingerprint, r.keyringFile())
	have, err := keyring.Load(r.keyringFile())
	if err == nil && have.Fingerprint() != k.Fingerprint {
		r.say("The one that is there, with the fingerprint %s, is another one: put the right one in its place.", have.Fingerprint())
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return err
}

func (r *restoration) say(format string, v ...any) {
	fmt.Fprintf(r.cmd.OutOrStdout(), format+"\n", v...)
}

func (r *restoration) restore(ctx context.Context) error {
	manifest, summary, err := verifyFile(r.cmd, r.from, nil)
	if err != nil {
		return err
	}
	if err := r.empty(ctx); err != nil {
		return err
	}
	if err := r.begin(); err != nil {
		return err
	}
	written := restored{streams: map[eventstore.Stream]*backup.Digester{}, sides: map[eventstore.Side]sideSums{}}
	for _, s := range eventstore.Sides {
		written.sides[s] = sideSums{}
	}
	for _, s := range eventstore.Streams {
		written.streams[s] = backup.NewDigester(summary.Streams[s.String()].Last)
	}
	if err := r.onLedger(eventstore.StartUnsyncedServer, func(nc *nats.Conn) error { return r.write(ctx, nc, summary, written) }); err != nil {
		return fmt.Errorf("%w; nothing that was written will be served: remove it and restore again", err)
	}
	if err := r.sync(); err != nil {
		return err
	}
	if err := r.onLedger(eventstore.StartServer, func(nc *nats.Conn) error { return r.compare(ctx, nc, written) }); err != nil {
		return err
	}
	if err := r.end(); err != nil {
		return err
	}
	showBackup(r.cmd.OutOrStdout(), "restored: "+r.from, manifest, summary)
	r.say("What was revoked after %s is good again, unless it is revoked here too.", manifest.At.Format("2006-01-02T15:04:05Z"))
	return nil
}

// begin marks the directory: what is in it until end is not served, whatever a crash leaves of
// the streams that are marked as incomplete themselves.
func (r *restoration) begin() error {
	if r.NATS.URL != "" {
		return nil
	}
	return secretfile.Create(r.restoringFile(), "keytrail restore has not ended\n")
}

func (r *restoration) end() error {
	if r.NATS.URL != "" {
		return nil
	}
	return errors.Join(os.Remove(r.restoringFile()), dirsync.Sync(r.Data))
}

// empty refuses a directory that holds anything, and servers that hold anything of ours. It makes
// a directory that is not there.
func (r *restoration) empty(ctx context.Context) error {
	if r.NATS.URL != "" {
		return r.onLedger(nil, func(nc *nats.Conn) error { return eventstore.CheckVacant(ctx, nc) })
	}
	if err := os.MkdirAll(r.Data, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(r.Data)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%s is not empty: it holds %s; restore into a directory that is", r.Data, entries[0].Name())
	}
	return err
}

// onLedger connects f to the server that holds the ledger: an external one, or one that start
// runs on the directory for as long as f takes.
func (r *restoration) onLedger(start func(dir string, log *slog.Logger) (*eventstore.Server, error), f func(*nats.Conn) error) error {
	connect := func() (*nats.Conn, error) { return eventstore.Connect(r.NATS, r.log) }
	if r.NATS.URL == "" {
		s, err := start(filepath.Join(r.Data, "ledger"), r.log)
		if err != nil {
			return err
		}
		defer s.Close()
		connect = s.Connect
	}
	nc, err := connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	return f(nc)
}

// What was restored of each stream.
type restored struct {
	streams map[eventstore.Stream]*backup.Digester
	sides   map[eventstore.Side]sideSums
}

// sideSums are the SHA-256 sums of the messages of a side, by their subjects.
type sideSums map[string][sha256.Size]byte

func (s sideSums) add(m *eventstore.Raw) { s[m.Subject] = sha256.Sum256(m.Data) }

func (r *restoration) write(ctx context.Context, nc *nats.Conn, summary backup.Summary, written restored) error {
	return reading(r.cmd, r.from, "restoring", func(from io.Reader) error {
		file, err := backup.Open(from)
		if err != nil {
			return err
		}
		for _, s := range backup.Before {
			if err := r.writeSide(ctx, nc, file, s, written); err != nil {
				return err
			}
		}
		for _, s := range eventstore.Streams {
			each := func(handle func(*eventstore.Raw) error) error {
				return file.Stream(s, func(m *eventstore.Raw) error { return errors.Join(written.streams[s].Add(m), handle(m)) })
			}
			if err := eventstore.Restore(ctx, nc, eventstore.Options{Replicas: r.Replicas}, s, summary.Streams[s.String()].Ends(), each); err != nil {
				return err
			}
		}
		if err := r.writeSide(ctx, nc, file, eventstore.Tiles, written); err != nil {
			return err
		}
		_, err = file.Close()
		if err == nil && file.Keyring != nil {
			err = r.writeKeyring(file.Keyring)
		}
		return err
	})
}

// writeSide restores the next part of the file, which is s.
func (r *restoration) writeSide(ctx context.Context, nc *nats.Conn, file *backup.Reader, s eventstore.Side, written restored) error {
	return eventstore.RestoreSide(ctx, nc, eventstore.Options{Replicas: r.Replicas}, s, func(handle func(*eventstore.Raw) error) error {
		return file.Side(s, func(m *eventstore.Raw) error { written.sides[s].add(m); return handle(m) })
	})
}

// sync puts every file of the embedded ledger on disk: it was written without a sync for
// each message, which would take hours.
func (r *restoration) sync() error {
	if r.NATS.URL != "" {
		return nil
	}
	return filepath.WalkDir(r.Data, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
		case d.IsDir():
			err = dirsync.Sync(path)
		default:
			err = syncFile(path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the server clears away behind itself for a moment
		}
		return err
	})
}

// syncFile opens a file for writing, without which Windows does not sync it.
func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// writeKeyring puts the keyring that the back-up has where the next start looks for it.
func (r *restoration) writeKeyring(text []byte) error {
	if err := os.MkdirAll(filepath.Dir(r.keyringFile()), 0o700); err != nil {
		return err
	}
	err := secretfile.Create(r.keyringFile(), string(text))
	if errors.Is(err, fs.ErrExist) {
		r.say("The back-up has a keyring; %s is there already and stays.", r.keyringFile())
		return nil
	}
	return err
}

// compare reads back what was written, and marks it as whole.
func (r *restoration) compare(ctx context.Context, nc *nats.Conn, written restored) error {
	bar := progress(r.cmd, -1, "comparing")
	defer bar.Close()
	for _, s := range eventstore.Streams {
		want := written.streams[s].Content()
		got := backup.NewDigester(want.Last)
		if err := eventstore.CopyRestored(ctx, nc, s, want.Last, func(m *eventstore.Raw) error {
			_ = bar.Add(1)
			return got.Add(m)
		}); err != nil {
			return err
		}
		if got.Content() != want {
			return fmt.Errorf("%s was restored as %+v and should be %+v; it will not be served", s, got.Content(), want)
		}
	}
	for s, want := range written.sides {
		got := sideSums{}
		if err := eventstore.CopyRestoredSide(ctx, nc, s, func(m *eventstore.Raw) error { got.add(m); return nil }); err != nil {
			return err
		}
		if !maps.Equal(got, want) {
			return fmt.Errorf("%d messages of %s were restored otherwise than the %d of the back-up; it will not be served", len(got), s, len(want))
		}
	}
	return eventstore.MarkRestored(ctx, nc)
}
