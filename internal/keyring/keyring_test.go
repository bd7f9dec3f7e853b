package keyring_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/keytrail/keytrail/internal/keyring"
)

func TestAKeyringIsReadBackAndNeverOverwritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring")
	if _, err := keyring.Load(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	k := keyring.New()
	if err := k.Create(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := keyring.New().Create(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second one: %v", err)
	}
	again, err := keyring.Load(path)
	if err != nil || again.Fingerprint() != k.Fingerprint() || again.Derive("a") != k.Derive("a") {
		t.Errorf("%v, %v", again, err)
	}
	if k.Derive("a") == k.Derive("b") || k.Fingerprint() == keyring.New().Fingerprint() {
		t.Error("keys of different names, or keyrings, are the same")
	}
	if files, _ := filepath.Glob(filepath.Dir(path) + "/*"); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
}

func TestOfManyThatMakeAKeyringOneWins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring")
	var wg sync.WaitGroup
	var won sync.Map
	for range 8 {
		wg.Go(func() {
			k := keyring.New()
			if err := k.Create(path); err == nil {
				won.Store(k.Fingerprint(), true)
			} else if !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	k, err := keyring.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	winners := 0
	won.Range(func(fingerprint, _ any) bool {
		if winners++; fingerprint != k.Fingerprint() {
			t.Errorf("%v won, and the file has %s", fingerprint, k.Fingerprint())
		}
		return true
	})
	if winners != 1 {
		t.Errorf("%d won", winners)
	}
}

func TestWhatIsNoKeyringIsRefusedAndNotShown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring")
	for _, text := range []string{"", "\n", "kt_keyring_1_", "kt_keyring_1_00", "kt_keyring_1_" + strings.Repeat("zz", 32), strings.Repeat("00", 32),
		"kt_keyring_1_" + strings.Repeat("00", 33), "kt_keyring_2_" + strings.Repeat("ab", 32)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := keyring.Load(path); err == nil || strings.Contains(err.Error(), strings.Repeat("ab", 32)) {
			t.Errorf("%q: %v", text, err)
		}
	}
	k := keyring.New()
	if printed := fmt.Sprintf("%v %+v %#v %x %s %d", k, k, k, k, k, *k); strings.Count(printed, "[keyring]") != 6 || len(printed) > 60 {
		t.Errorf("printed as %s", printed)
	}
}
