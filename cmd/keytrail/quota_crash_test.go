package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	quotaOwners = 4
	quotaBound  = 3
)

// TestAQuotaHoldsThroughCrashes kills the service while many clients create and revoke keys of few
// owners. At no position of the ledger an owner has more keys than the keyspace allows, and
// what a crash has left reserved is given back.
func TestAQuotaHoldsThroughCrashes(t *testing.T) {
	t.Parallel() // it waits more than it computes
	data := t.TempDir()
	r := launch(t, data)
	r.call(t, "POST", "/v1/keyspaces", map[string]any{"name": "few", "bounds": map[string]any{"keys_per_owner": quotaBound},
		"format": map[string]any{"prefix": "few_", "alphabet": "base36", "length": 32}}, nil)
	org := r.newOrg(t)
	for round := range 3 {
		var clients sync.WaitGroup
		for n := range 8 {
			url, key := r.url, r.rootKey(t)
			clients.Go(func() { fillQuota(t, url, key, org, fmt.Sprintf("%d-%d", round, n)) })
		}
		timer := time.NewTimer(300*time.Millisecond + rand.N(700*time.Millisecond))
		<-timer.C
		r.end(t, syscall.SIGKILL)
		clients.Wait()
		r = launch(t, data)
		checkQuota(t, r.command(t, "", "events", "replay", "--org", org, "--json").out)
	}
	// Every place is free once all keys are revoked, those that the killed services had reserved too.
	r.call(t, "POST", "/v1/keys/revoke", map[string]any{"filter": map[string]any{"org_id": org, "all": true}}, nil)
	for owner := range quotaOwners {
		for n := range quotaBound {
			awaitKey(t, r, org, owner, n)
		}
		err := send(t.Context(), "POST", r.url+"/v1/keys", r.rootKey(t), "", keyOfQuota(org, owner), nil)
		if err == nil || !strings.Contains(err.Error(), "at most") && !strings.Contains(err.Error(), "limit") {
			t.Errorf("one more key: %v", err)
		}
	}
}

func keyOfQuota(org string, owner int) map[string]any {
	return map[string]any{"org_id": org, "keyspace": "few", "name": "n", "owner": fmt.Sprint("owner ", owner)}
}

// fillQuota creates keys, and revokes some of them, until the service does not answer.
func fillQuota(t *testing.T, url, root, org, name string) {
	for i := 0; ; i++ {
		var m made
		err := send(context.Background(), "POST", url+"/v1/keys", root, fmt.Sprintf("%s-%d", name, i), keyOfQuota(org, rand.IntN(quotaOwners)), &m)
		if err == nil && rand.IntN(2) == 0 {
			err = send(context.Background(), "POST", url+"/v1/keys/"+m.Key.ID+"/revoke", root, "", map[string]any{}, nil)
		}
		refused := new(refusedError)
		switch {
		case err == nil:
		case !errors.As(err, &refused):
			return
		case !strings.Contains(err.Error(), "key_limit_reached") && !strings.Contains(err.Error(), "limit"):
			t.Error(err)
		}
	}
}

// checkQuota replays what became of the keys, and counts those that are not revoked.
func checkQuota(t *testing.T, replay string) {
	t.Helper()
	owners, active := map[string]string{}, map[string]int{}
	for lines := bufio.NewScanner(strings.NewReader(replay)); lines.Scan(); {
		var e struct {
			Type, Subject, Position string
			Data                    struct{ Owner string }
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		switch e.Type {
		case "key.created":
			owners[e.Subject] = e.Data.Owner
			if active[e.Data.Owner]++; active[e.Data.Owner] > quotaBound {
				t.Errorf("at %s, %s has %d keys", e.Position, e.Data.Owner, active[e.Data.Owner])
			}
		case "key.revoked":
			active[owners[e.Subject]]--
		}
	}
	if len(owners) < quotaOwners*quotaBound {
		t.Errorf("%d keys prove little", len(owners))
	}
}

// awaitKey creates a key of an owner as soon as there is a place.
func awaitKey(t *testing.T, r *running, org string, owner, n int) {
	t.Helper()
	for begun := time.Now(); ; {
		err := send(t.Context(), "POST", r.url+"/v1/keys", r.rootKey(t), "", keyOfQuota(org, owner), nil)
		if err == nil {
			return
		}
		if time.Since(begun) > 2*time.Minute {
			t.Fatalf("key %d of owner %d: %v", n, owner, err)
		}
	}
}
