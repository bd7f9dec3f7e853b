package eventstore

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sys/unix"
)

// The server stages an atomic batch in files of its own before it commits it, with five fsyncs
// more than the commit has. They protect nothing of ours: what is committed is synced in the
// stream, a batch that was cut off is unanswered, and its events stand by themselves. So the
// directory in which it stages is a link into memory. The server survives the loss of it: it
// refuses batches, and events are appended singly.

const (
	memoryDir     = "/dev/shm"
	stagingPrefix = memoryDir + "/keytrail-batches-"

	// leastMemory must be free: the room of three batches of maxAtomicBytes with a last member of
	// maxMessage, of which one is on its way at a time.
	leastMemory = 16 << 20
)

// stagingLink is where the server of a directory stages batches of events.
func stagingLink(dir string) string {
	return filepath.Join(dir, server.JetStreamStoreDir, server.DEFAULT_GLOBAL_ACCOUNT, "streams", Events.name(), "batches")
}

// leftStaging is what a process that was killed left behind in memory: from it the server completes
// the batch that it was committing. A link to what is not ours, as after a restart of the machine,
// is taken away.
func leftStaging(dir string) string {
	link := stagingLink(dir)
	target, err := os.Readlink(link)
	if err != nil {
		return ""
	}
	info, err := os.Lstat(target)
	if err == nil && strings.HasPrefix(target, stagingPrefix) && filepath.Dir(target) == memoryDir && info.IsDir() && info.Sys().(*syscall.Stat_t).Uid == uint32(os.Geteuid()) {
		return target
	}
	_ = os.Remove(link)
	return ""
}

// stageInMemory makes the server of a directory, which has the stream of events, stage batches in
// memory. staging is where: "" and no error on a system whose memory cannot hold them.
func stageInMemory(dir string) (staging string, err error) {
	var memory unix.Statfs_t
	if unix.Statfs(memoryDir, &memory) != nil || memory.Type != unix.TMPFS_MAGIC || memory.Bavail*uint64(memory.Bsize) < leastMemory {
		return "", nil
	}
	if staging, err = os.MkdirTemp(memoryDir, filepath.Base(stagingPrefix)); err != nil {
		return "", err
	}
	link := stagingLink(dir)
	if err = os.RemoveAll(link); err == nil {
		err = os.Symlink(staging, link)
	}
	if err != nil {
		_ = os.Remove(staging)
		return "", err
	}
	return staging, nil
}
