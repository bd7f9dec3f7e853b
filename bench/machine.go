package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/prometheus/procfs"
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
	Load   string  `json:"load_average"` // when the run began: above zero the machine had other work
	Fsync  float64 `json:"fsync_us"`     // median of a 4 KiB append with fsync where the ledgers are
}

func thisMachine(dir string) (machine, error) {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return machine{}, err
	}
	processors, err1 := proc.CPUInfo()
	memory, err2 := proc.Meminfo()
	fsync, err3 := fsyncTime(dir)
	if err := errors.Join(err1, err2, err3); err != nil {
		return machine{}, err
	}
	load, _, _ := strings.Cut(output("cat", "/proc/loadavg"), " ")
	_, disk, _ := strings.Cut(output("df", "--output=fstype", dir), "\n")
	return machine{
		CPU: processors[0].ModelName, Cores: runtime.NumCPU(), Memory: fmt.Sprintf("%d kB", *memory.MemTotal),
		Kernel: output("uname", "-sr"), Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH,
		Commit: commit(), Disk: disk, Load: load, Fsync: fsync,
	}, nil
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

// fsyncTime is the median of 50 appends of 4 KiB with fsync, in microseconds.
func fsyncTime(dir string) (median float64, err error) {
	f, err := os.Create(filepath.Join(dir, "fsync"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	var times latencies
	for range 50 {
		took, err := timed(func() error {
			_, err := f.Write(bytes.Repeat([]byte{'x'}, 4096))
			return errors.Join(err, f.Sync())
		})
		if err != nil {
			return 0, err
		}
		times = append(times, took)
	}
	return times.percentiles().P50, nil
}
