package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// errNotValid is a verification's answer, not a failure of it.
var errNotValid = errors.New("the key is not valid")

func verifyCommand(c *client) *cobra.Command {
	var scopes []string
	var ip, keyspace string
	cmd := &cobra.Command{Use: "verify [-]", Short: "Verify a key, which is read from standard input",
		Long: "Verify a key. It is read from standard input, so that it is not seen among the processes' arguments.\nIt says in words why a key is refused.\nExit code 0: it is valid; 1: it is not.", Args: noSecret,
		RunE: func(cmd *cobra.Command, _ []string) error {
			secret, err := readSecret(cmd)
			if err != nil {
				return err
			}
			body := map[string]any{"key": secret}
			if scopes != nil {
				body["scopes"] = scopes
			}
			if ip != "" {
				body["ip"] = ip
			}
			if keyspace != "" {
				body["keyspace"] = keyspace
			}
			var text json.RawMessage
			if err := c.call(cmd.Context(), http.MethodPost, "/v1/verify", nil, body, &text); err != nil {
				return err
			}
			answer, told := map[string]any{}, verification{asked: scopes, ip: ip, now: time.Now()}
			if err := cmp.Or(json.Unmarshal(text, &answer), json.Unmarshal(text, &told)); err != nil {
				return err
			}
			err = c.show(cmd, answer, func(w io.Writer) {
				fmt.Fprintf(w, "%s\n%s\n", told.Code, told.explain())
				if id, ok := answer["key_id"]; ok {
					fmt.Fprintf(w, "key    %v\nname   %v\nowner  %v\nscopes %v\n", id, answer["name"], answer["owner"], answer["scopes"])
				}
			})
			if err == nil && answer["valid"] != true {
				err = errNotValid
			}
			return err
		}}
	cmd.Flags().StringSliceVar(&scopes, "scope", nil, "a scope that is needed; may be repeated")
	cmd.Flags().StringVar(&ip, "ip", "", "the address of the client that presents it")
	cmd.Flags().StringVar(&keyspace, "keyspace", "", "the keyspace that it must belong to")
	return cmd
}

// noSecret takes no argument, or a dash for standard input. It does not repeat what it
// refuses: it may be a key.
func noSecret(_ *cobra.Command, args []string) error {
	if len(args) == 0 || len(args) == 1 && args[0] == "-" {
		return nil
	}
	return errors.New("a key is read from standard input: arguments can be seen by others")
}

func readSecret(cmd *cobra.Command) (string, error) { return readHidden(cmd, "key") }

// readHidden reads a line of standard input, which a terminal does not show.
func readHidden(cmd *cobra.Command, what string) (string, error) {
	if f, ok := cmd.InOrStdin().(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(cmd.ErrOrStderr(), strings.ToUpper(what[:1])+what[1:]+": ")
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(cmd.ErrOrStderr())
		return string(b), err
	}
	line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	if what == "key" {
		line = strings.TrimSpace(line)
	}
	if line == "" {
		return "", fmt.Errorf("no %s came on standard input", what)
	}
	return line, nil
}
