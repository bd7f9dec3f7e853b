//go:build unix

package main

import "golang.org/x/sys/unix"

// maxFiles is how many files this process may have open; 0: not known. The Go runtime has
// raised the limit as far as it may.
func maxFiles() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return int(min(limit.Cur, 1<<30))
}
