package main

import (
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// redrawEvery is the shortest time between two drawings of a bar, which would otherwise be drawn for
// each piece that comes.
const redrawEvery = 200 * time.Millisecond

// inBytes is for a bar that counts bytes.
var inBytes = progressbar.OptionShowBytes(true)

// progress is a bar on a terminal, and nothing elsewhere. More options come after its own.
func progress(cmd *cobra.Command, total int64, what string, more ...progressbar.Option) *progressbar.ProgressBar {
	f, ok := cmd.ErrOrStderr().(*os.File)
	return progressbar.NewOptions64(total, append([]progressbar.Option{
		progressbar.OptionSetWriter(cmd.ErrOrStderr()), progressbar.OptionSetDescription(what), progressbar.OptionThrottle(redrawEvery),
		progressbar.OptionSetVisibility(ok && term.IsTerminal(int(f.Fd()))), progressbar.OptionShowCount(), progressbar.OptionClearOnFinish(),
	}, more...)...)
}
