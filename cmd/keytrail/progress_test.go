package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
)

// TestProgressIsNotDrawnForEachPiece: a terminal would take longer than the work, and a log fill up.
func TestProgressIsNotDrawnForEachPiece(t *testing.T) {
	var drawn bytes.Buffer
	cmd := &cobra.Command{}
	cmd.SetErr(&drawn)
	bar := progress(cmd, -1, "replaying", inBytes, progressbar.OptionSetVisibility(true))
	const pieces = 10_000
	for range pieces {
		if err := bar.Add(1000); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(drawn.String(), "replaying"); n == 0 || n > pieces/10 || !strings.Contains(drawn.String(), " kB") {
		t.Errorf("%d pieces were drawn %d times: %.200s", pieces, n, drawn.String())
	}
}
