// Package dirsync puts a directory's entries on disk: files that were made, renamed or removed.
package dirsync

import (
	"errors"
	"os"
	"runtime"
)

// Sync syncs the directory. Windows has no such call, and needs none.
func Sync(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
