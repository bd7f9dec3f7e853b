package main

import (
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
)

// programVersion is the release's, or what go install or a build in a clone knows of it.
func programVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

// revision is the commit that the program was built from, "" if the build does not know.
func revision() string {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}

// buildInfo is a metric that is always 1: its labels say what runs.
func buildInfo() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "keytrail_build_info", Help: "What is running; always 1.",
		ConstLabels: prometheus.Labels{"version": programVersion(), "revision": revision(), "goversion": runtime.Version()}}, func() float64 { return 1 })
}
