// Package filelock gives one process at a time the use of a file. The kernel gives a lock back when
// its process ends, however it ends, or closes the file.
package filelock

import "errors"

// ErrLocked is another one's lock.
var ErrLocked = errors.New("locked by another process")
