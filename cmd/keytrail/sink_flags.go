package main

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keytrail/keytrail/domain"
)

// sinkBody are the flags that make the body of a request for a sink.
type sinkBody struct {
	bodyFlags
	cmd      *cobra.Command
	settings *[]string
	files    map[string]*string // by the name of the setting or credential that the file holds
	unset    *[]string          // nil: nothing can be
}

// maxSecretFile bounds what is read of a file.
const maxSecretFile = 64 << 10

func sinkFlags(cmd *cobra.Command) *sinkBody {
	f := cmd.Flags()
	b := &sinkBody{bodyFlags: bodyFlags{set: f}, cmd: cmd, files: map[string]*string{}}
	b.text("name", "name", "what it is called")
	b.text("url", "url", "of the receiver, for the types that have one")
	b.text("format", "format", "cloudevents, ocsf, ecs or cef")
	b.list("event-type", "event_types", "what it gets, like key.revoked; may be repeated; '' is all")
	uses := f.String("uses", "", "each, summed, none, or sampled/100: one in a hundred of the valid ones, and all others")
	b.add("uses", "uses", func() (any, error) { return parseUses(*uses) })
	b.settings = f.StringArray("set", nil, "a setting of the type, like index=keytrail; may be repeated")
	for _, name := range append(credentialNames(), "ca") {
		b.files[name] = f.String(strings.ReplaceAll(name, "_", "-")+"-file", "", "file with "+name+"; - for standard input")
	}
	f.Lookup("headers-file").Usage = "file with headers of each request, a line like Authorization: Bearer … for each; - for standard input"
	return b
}

// credentialNames are what comes from files alone: other users of the machine see arguments.
func credentialNames() (names []string) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[domain.SinkCredentials]()) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "signing" {
			names = append(names, name)
		}
	}
	return names
}

// body has the members whose flags were given.
func (b *sinkBody) body() (map[string]any, error) {
	body, err := b.bodyFlags.body()
	if err != nil {
		return nil, err
	}
	settings := map[string]any{}
	for _, text := range *b.settings {
		name, value, _ := strings.Cut(text, "=")
		if settings[name], err = parseSetting(name, value); err != nil {
			return nil, err
		}
	}
	if b.inputs() > 1 {
		return nil, errors.New("several of the files are standard input")
	}
	for name, path := range b.files {
		if *path == "" {
			continue
		}
		if settings[name], err = b.read(name, *path); err != nil {
			return nil, err
		}
	}
	if b.unset != nil {
		for _, name := range *b.unset {
			settings[name] = nil
		}
	}
	if len(settings) > 0 {
		body["settings"] = settings
	}
	return body, nil
}

// inputs is how many of the files are standard input.
func (b *sinkBody) inputs() (n int) {
	for _, path := range b.files {
		if *path == "-" {
			n++
		}
	}
	return n
}

// read is what a file holds, without the line break at its end.
func (b *sinkBody) read(name, path string) (any, error) {
	in, err := openInput(b.cmd, path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, maxSecretFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxSecretFile:
		return nil, fmt.Errorf("%s has more than 64 KiB", path)
	case name != "headers":
		return strings.TrimRight(string(text), "\r\n"), nil
	}
	headers := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("%s: a line is not like Name: value", path)
		}
		headers[name] = strings.TrimSpace(value)
	}
	return headers, nil
}

// parseSetting reads a setting's value as its type.
func parseSetting(name, value string) (any, error) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[domain.SinkSettings]()) {
		if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag != name {
			continue
		}
		var parsed any = value
		var err error
		switch f.Type.Kind() {
		case reflect.Bool:
			parsed, err = strconv.ParseBool(value)
		case reflect.Int:
			parsed, err = strconv.Atoi(value)
		case reflect.Slice:
			parsed = strings.Split(value, ",")
		}
		if err != nil {
			return nil, fmt.Errorf("--set %s: %q is not what it can be", name, value)
		}
		return parsed, nil
	}
	for _, credential := range credentialNames() {
		if credential == name {
			return nil, fmt.Errorf("%s is a credential: give it with --%s-file", name, strings.ReplaceAll(name, "_", "-"))
		}
	}
	return nil, fmt.Errorf("--set %s: there is no such setting", name)
}

func parseUses(text string) (any, error) {
	mode, rate, sampled := strings.Cut(text, "/")
	uses := map[string]any{"mode": mode}
	if sampled {
		n, err := strconv.Atoi(rate)
		if err != nil {
			return nil, fmt.Errorf("--uses: %q is not like sampled/100", text)
		}
		uses["one_in"] = n
	}
	return uses, nil
}
