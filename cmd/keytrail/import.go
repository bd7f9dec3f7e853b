package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
)

const (
	linesAtOnce   = 10_000   // lines of an import that go into one request, at most
	bytesAtOnce   = 15 << 20 // and their size: a request may have 16 MiB
	failuresShown = 20       // lines that are told one by one; the others are counted
)

type imported struct {
	Imported int              `json:"imported"`
	Existing int              `json:"existing"`
	Failed   int              `json:"failed"`
	Results  []map[string]any `json:"results"` // of lines that failed, the first ones
}

func importCommand(c *client) *cobra.Command {
	var orgMap string
	cmd := &cobra.Command{Use: "import FILE", Short: "Import digests of keys issued elsewhere",
		Long: `Import keys from a file, - for standard input, with one JSON object a line:
{"org_id","name","digest":"<sha-256 of the secret as hex>","prefix","owner","scopes","expires_at",…}
It is safe to interrupt and to repeat: a digest that is there already changes nothing.

What keytrail keys export wrote in another installation names that one's organizations:
give the map that keytrail orgs import made with --org-map.`, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			i := importer{client: c, cmd: cmd, bar: progress(cmd, -1, "importing"), first: 1}
			defer i.bar.Close()
			if orgMap != "" {
				var err error
				if i.orgs, err = readOrgMap(orgMap); err != nil {
					return err
				}
			}
			in, err := openInput(cmd, args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			if err := i.run(in); err != nil {
				return err
			}
			return i.tell()
		}}
	cmd.Flags().StringVar(&orgMap, "org-map", "", "file that keytrail orgs import wrote")
	return cmd
}

// openInput opens a file, or standard input for a dash.
func openInput(cmd *cobra.Command, name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(cmd.InOrStdin()), nil
	}
	return os.Open(name)
}

// An importer sends the lines of one file, some at a time.
type importer struct {
	*client
	cmd    *cobra.Command
	bar    *progressbar.ProgressBar
	orgs   map[string]string // an organization's id there and here; nil: they are the same
	sum    imported
	chunk  bytes.Buffer
	first  int // number of the chunk's first line
	number int // of the last line read
}

func (i *importer) run(in io.Reader) error {
	lines := bufio.NewScanner(in)
	for lines.Buffer(nil, 1<<20); lines.Scan(); {
		i.number++
		line, err := i.moved(bytes.TrimSpace(lines.Bytes()))
		if err != nil {
			return fmt.Errorf("line %d: %w", i.number, err)
		}
		i.chunk.Write(append(line, '\n'))
		if i.number-i.first+1 == linesAtOnce || i.chunk.Len() > bytesAtOnce {
			if err := i.flush(); err != nil {
				return err
			}
		}
	}
	return errors.Join(lines.Err(), i.flush())
}

// moved is a line with the organization's id here. An empty line keeps its number.
func (i *importer) moved(line []byte) ([]byte, error) {
	if len(line) == 0 {
		return []byte("null"), nil
	}
	if i.orgs == nil {
		return line, nil
	}
	var members map[string]json.RawMessage
	var there string
	if err := errors.Join(json.Unmarshal(line, &members), json.Unmarshal(members["org_id"], &there)); err != nil {
		return nil, errors.New("with --org-map each line must be an object with an org_id")
	}
	here, known := i.orgs[there]
	if !known {
		return nil, fmt.Errorf("the organization %s is not in the map; run keytrail orgs import first", there)
	}
	members["org_id"], _ = json.Marshal(here) // a text
	return json.Marshal(members)
}

// flush sends the lines in hand.
func (i *importer) flush() error {
	if i.chunk.Len() == 0 {
		return nil
	}
	var part imported
	err := i.retry(i.cmd.Context(), func() error {
		answer, err := i.send(i.cmd.Context(), http.MethodPost, "/v1/keys/import", nil, http.Header{"Content-Type": {"application/x-ndjson"}}, bytes.NewReader(i.chunk.Bytes()))
		if err != nil {
			return err
		}
		return read(answer, &part)
	})
	if err != nil {
		return fmt.Errorf("%w; %d or more are imported, repeat the command to go on", err, i.sum.Imported)
	}
	i.add(part)
	_ = i.bar.Set(i.number)
	i.chunk.Reset()
	i.first = i.number + 1
	return nil
}

// add adds up what became of a chunk.
func (i *importer) add(part imported) {
	i.sum.Imported, i.sum.Existing, i.sum.Failed = i.sum.Imported+part.Imported, i.sum.Existing+part.Existing, i.sum.Failed+part.Failed
	for _, r := range part.Results {
		if n, ok := r["line"].(float64); ok && r["status"] == "failed" && len(i.sum.Results) < failuresShown {
			r["line"] = int(n) + i.first - 1
			i.sum.Results = append(i.sum.Results, r)
		}
	}
}

func (i *importer) tell() error {
	err := i.show(i.cmd, i.sum, func(w io.Writer) {
		for _, r := range i.sum.Results {
			fmt.Fprintf(w, "line %v: %v (%v)\n", r["line"], r["detail"], r["code"])
		}
		if more := i.sum.Failed - len(i.sum.Results); more > 0 {
			fmt.Fprintf(w, "… and %d lines more\n", more)
		}
		fmt.Fprintf(w, "imported %d, already there %d, failed %d\n", i.sum.Imported, i.sum.Existing, i.sum.Failed)
	})
	if err == nil && i.sum.Failed > 0 {
		err = &problem{Code: "import_incomplete", Detail: fmt.Sprintf("%d lines were not imported; mend them and repeat the whole", i.sum.Failed)}
	}
	return err
}
