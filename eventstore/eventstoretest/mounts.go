package eventstoretest

import "os"

// OwnMounts begins the command line of a process that has mounts of its own, such as a small
// file system. For an ordinary user it takes a user namespace, which the kernel must allow.
func OwnMounts() []string {
	if os.Geteuid() == 0 {
		return []string{"unshare", "--mount"}
	}
	return []string{"unshare", "--mount", "--map-root-user"}
}
