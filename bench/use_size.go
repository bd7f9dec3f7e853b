package main

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// A useSize is what one use takes on disk, everything included.
type useSize struct {
	Orgs  int     `json:"organizations"`
	Uses  int     `json:"uses"`
	Bytes float64 `json:"bytes_a_use"`
}

// useSizes writes uses of one organization, and of many, to ledgers of their own.
func useSizes(ctx context.Context, e *env) error {
	const most = 200_000
	for _, orgs := range []int{1, e.orgs} {
		var log usesLog
		dir, p := filepath.Join(e.dir, fmt.Sprintf("uses-of-%d", orgs)), e.population
		p.Orgs = p.Orgs[:orgs]
		if err := log.fill(ctx, dir, p, e.keys, min(most, e.usesFilled[0])); err != nil {
			return err
		}
		bytes, err := fileSizes(dir, "KEYTRAIL_USES")
		if err != nil {
			return err
		}
		e.report.UseSizes = append(e.report.UseSizes, useSize{orgs, log.len(), float64(bytes) / float64(log.len())})
	}
	return nil
}

// fileSizes adds up the files below the directories of a name, in bytes.
func fileSizes(root, name string) (sum int64, err error) {
	return sum, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(path, string(filepath.Separator)+name+string(filepath.Separator)) {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
}

func useSizeTargets(r *report) (all []target) {
	for _, s := range r.UseSizes {
		all = append(all, target{fmt.Sprintf("bytes on disk for a use, %d a message, random requests, addresses and keys of %d organization(s)", usesPerMessage, s.Orgs),
			"≤ 60", fmt.Sprintf("%.1f", s.Bytes), s.Bytes > 60})
	}
	return all
}
