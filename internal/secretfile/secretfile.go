// Package secretfile writes files that hold a secret: only their owner can read them, they
// are there whole or not at all, and they are on disk when a call returns.
package secretfile

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/keytrail/keytrail/internal/dirsync"
)

// Replace makes text the content of path.
func Replace(path, text string) error { return write(path, text, os.Rename) }

// Create writes a new file; fs.ErrExist if there is one, which it leaves as it is.
func Create(path, text string) error {
	// Unlike a rename, a link does not take the place of a file that is there.
	return write(path, text, os.Link)
}

func write(path, text string, put func(from, to string) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = put(f.Name(), path)
	}
	if gone := os.Remove(f.Name()); !errors.Is(gone, os.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	if err != nil {
		return err
	}
	return dirsync.Sync(filepath.Dir(path))
}
