package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// TestASmallDiskStopsTheServiceInGoodOrder runs the service on a file system of its own, on
// which room becomes short and is made again.
func TestASmallDiskStopsTheServiceInGoodOrder(t *testing.T) {
	const size, minFree = 256 << 20, 96 << 20
	dir := t.TempDir()
	mount := fmt.Sprintf(`mount -t tmpfs -o size=%d tmpfs %s; touch %s/own; exec "$0" "$@"`, size, dir, dir)
	r := beginWith(t, dir, append(eventstoretest.OwnMounts(), "sh", "-ec", mount),
		"--min-free", fmt.Sprint(minFree))
	r.untilReady(t)
	r.data = fmt.Sprintf("/proc/%d/root%s", r.cmd.Process.Pid, dir) // as the service sees it
	if _, err := os.Stat(filepath.Join(r.data, "own")); err != nil {
		t.Fatalf("no file system of its own: %v", err)
	}
	m := r.newKey(t, r.newOrg(t))
	for range 2 {
		filler, free := filepath.Join(r.data, "filler"), must(freeBytes(r.data))
		if err := os.WriteFile(filler, make([]byte, free-minFree*3/4), 0o600); err != nil {
			t.Fatal(err)
		}
		until(t, "verification is refused", func() bool {
			return r.says(t, `"code":"storage_full"`, "POST", "/v1/verify", map[string]string{"key": m.Secret})
		})
		until(t, "it is not ready", func() bool { return r.says(t, `"suspended":"storage_full"`, "GET", "/readyz", nil) })
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		until(t, "verification is answered", func() bool { return r.outcome(t, m.Secret) == "VALID" })
		until(t, "it is ready", func() bool { return send(t.Context(), "GET", r.url+"/readyz", "", "", nil, nil) == nil })
	}
}
