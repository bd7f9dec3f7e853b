// Command keytrail is the service, and the command line for the people who use it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker for a release.
var version = ""

// The exit codes, which scripts can use.
const (
	exitOK          = 0
	exitRefused     = 1 // the service refused, or the key is not valid
	exitUsage       = 2
	exitUnreachable = 3
	exitInterrupted = 130
)

func main() {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	// The first signal asks to stop; from then on a second one ends the process.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the program.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	root := &cobra.Command{
		Use: "keytrail", Short: "Issue, verify and audit API keys",
		Long: `Keytrail issues, verifies, lists, rotates, revokes and expires API keys, and keeps
every change and every use of them on a log that can be replayed.

The commands for people find the service by KEYTRAIL_URL (default http://127.0.0.1:8080)
and their key by KEYTRAIL_KEY, --key-file, or ./keytrail-data/root.key.

Exit codes: 0 done, or the key is valid; 1 refused, or the key is not valid; 2 wrong
usage; 3 the service cannot be reached; 130 interrupted.`,
		SilenceUsage: true, SilenceErrors: true, Version: programVersion(),
	}
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	c := &client{errs: errs}
	c.flags(root)
	root.AddCommand(serveCommand(), keysCommand(c), keyspacesCommand(c), plansCommand(c), orgsCommand(c), usersCommand(c), membersCommand(c), rolesCommand(c), invitationsCommand(c), ownersCommand(c), verifyCommand(c), eventsCommand(c), sinksCommand(c), ssoCommand(c), sessionsCommand(c), auditCommand(c), witnessCommand(), projectionsCommand(c), principalCommand(c), backupCommand(c), restoreCommand(c), healthCommand(c), rootKeyCommand(), keyringCommand(), versionCommand())
	for _, group := range root.Commands() {
		if group.HasSubCommands() {
			// Without this a mistyped subcommand would print help and count as done.
			group.Args, group.RunE = cobra.NoArgs, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
	c.complete(root)
	return exitCode(root.ExecuteContext(ctx), errs)
}

func versionCommand() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), programVersion()) }}
}

// exitCode tells err to the person, and what it means to a script.
func exitCode(err error, errs io.Writer) int {
	if err == nil {
		return exitOK
	}
	if !errors.Is(err, errNotValid) && !errors.As(err, new(*logged)) { // which have been told
		fmt.Fprintln(errs, "keytrail:", err)
	}
	var refused *problem
	var away *unreachable
	switch {
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &refused), errors.As(err, new(*refuted)), errors.Is(err, errNotValid), errors.Is(err, errServe), errors.Is(err, errOffline):
		return exitRefused
	case errors.As(err, &away):
		return exitUnreachable
	}
	return exitUsage
}
