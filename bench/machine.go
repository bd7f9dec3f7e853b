package main

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A machine is what the figures of a run hold for.
type machine struct {
	CPU    string  `json:"cpu"`
	Cores  int     `json:"cores"`
	Memory string  `json:"memory"`
	Kernel string  `json:"kernel"`
	Go     string  `json:"go"`
	Commit string  `json:"commit"`
	Disk   string  `json:"file_system"`
	Fsync  float64 `json:"fsync_us"` // median of a 4 KiB append with fsync where the ledgers are
}

func thisMachine(dir string) (machine, error) {
	m := machine{
		CPU: fileField("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(), Memory: fileField("/proc/meminfo", "MemTotal"),
		Kernel: output("uname", "-sr"), Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH,
		Commit: commit(), Disk: lastLine(output("df", "--output=fstype", dir)),
	}
	var err error
	m.Fsync, err = fsyncTime(dir)
	return m, err
}

// commit names the sources under test; -dirty: they differ from it.
func commit() string {
	hash := output("git", "rev-parse", "--short", "HEAD")
	if output("git", "status", "--porcelain", "--untracked-files=no") != "" {
		hash += "-dirty"
	}
	return hash
}

// output is what a command prints, "" if it cannot be run: a run on a machine without
// it is still a run.
func output(name string, args ...string) string {
	b, err := exec.Command(name, args...).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func lastLine(s string) string { return s[strings.LastIndexByte(s, '\n')+1:] }

func fileField(file, field string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == field {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func fsyncTime(dir string) (median float64, err error) {
	f, err := os.Create(filepath.Join(dir, "fsync"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	var times []time.Duration
	for range 50 {
		begin := time.Now()
		_, werr := f.Write(bytes.Repeat([]byte{'x'}, 4096))
		if err := errors.Join(werr, f.Sync()); err != nil {
			return 0, err
		}
		times = append(times, time.Since(begin))
	}
	slices.Sort(times)
	return micros(times[len(times)/2]), nil
}
