//go:build unix

package eventstore

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lockFile takes f's lock for this process; errLocked if another one has it. The kernel
// gives it back when the process ends, however it ends.
func lockFile(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errLocked
	}
	return err
}
