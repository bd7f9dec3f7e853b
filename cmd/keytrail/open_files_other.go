//go:build !unix

package main

// maxFiles is how many files this process may have open; 0: there is no such limit.
func maxFiles() int { return 0 }
