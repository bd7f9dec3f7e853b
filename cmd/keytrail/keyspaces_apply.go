package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/documents"
)

// kinds are what the documents of a file can be of, with the path below which the service has
// each by its name. It takes PUT there, and dry_run=true answers with a plan.
var kinds = map[string]string{"keyspace": "/v1/keyspaces/", "plan": "/v1/plans/"}

func applyCommand(c *client) *cobra.Command {
	var file string
	var dryRun bool
	cmd := &cobra.Command{Use: "apply -f FILE", Short: "Make keyspaces and plans as a file says", Args: cobra.NoArgs,
		Long: `Make keyspaces and plans as a file says, - for standard input: those that are new are
created, others get the definition, and one that has it already stays as it is.

The file is YAML or JSON, with several documents if need be. All are checked before the
first is applied; each fault is told with its line.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := openInput(cmd, file)
			if err != nil {
				return err
			}
			defer in.Close()
			if file == "-" {
				file = "standard input"
			}
			all, err := documents.Read(file, in)
			if err != nil {
				return c.tell(err)
			}
			return c.apply(cmd, all, dryRun)
		}}
	cmd.Flags().StringVarP(&file, "file", "f", "", "the file, - for standard input")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would change, and change nothing")
	_ = cmd.MarkFlagRequired("file")
	return cmd
}

// apply plans all documents, and if there is no fault, applies one after another what it has
// planned: each on the condition that it still is at the revision of the plan.
func (c *client) apply(cmd *cobra.Command, all []documents.Document, dryRun bool) error {
	plans, err := c.plan(cmd, all)
	if err != nil {
		return err
	}
	for i := range plans {
		if !dryRun && plans[i].Action != "none" {
			if err := c.put(cmd, &all[i], plans[i].Revision, nil, &struct{}{}); err != nil {
				return c.tell(err)
			}
		}
		if !c.json {
			fmt.Fprintln(cmd.OutOrStdout(), plans[i].say(dryRun))
		}
	}
	return c.show(cmd, plans, func(io.Writer) {})
}

// A planned is what a document does, or would do.
type planned struct {
	Kind     string              `json:"kind"`
	Name     string              `json:"name"`
	Action   string              `json:"action"`
	Changes  []domain.Difference `json:"changes"`
	Revision uint64              `json:"-"` // at which it was planned; 0: it is new
}

// say is one line for a person.
func (p planned) say(dryRun bool) string {
	verb := map[string]string{"create": "created", "update": "updated", "none": "unchanged"}[p.Action]
	if dryRun && p.Action != "none" {
		verb = "would be " + verb
	}
	var changes []string
	for _, d := range p.Changes {
		changes = append(changes, sayDifference(d))
	}
	if changes != nil {
		verb += ": " + strings.Join(changes, ", ")
	}
	return p.Name + " " + verb
}

func sayDifference(d domain.Difference) string {
	switch {
	case d.Before == nil && isObject(d.After):
		return d.Field + " added"
	case d.After == nil && isObject(d.Before):
		return d.Field + " removed"
	}
	return fmt.Sprintf("%s %s → %s", d.Field, plainly(d.Before), plainly(d.After))
}

func isObject(v any) bool { _, ok := v.(map[string]any); return ok }

// plainly is a value as a line of text has it.
func plainly(v any) string {
	if v == nil {
		return "none"
	}
	text, _ := json.Marshal(v)
	if plain := strings.Trim(string(text), `"`); plain != "" && !strings.ContainsAny(plain, `"\, `) {
		return plain
	}
	return string(text)
}

// tell tells faults of a file, one a line, as editors and terminals find them.
func (c *client) tell(faults ...error) error {
	for _, err := range faults {
		fmt.Fprintln(c.errs, err)
	}
	if faults == nil {
		return nil
	}
	return &logged{errors.Join(faults...)}
}

// plan asks the service what each document would do. The faults of all are told.
func (c *client) plan(cmd *cobra.Command, all []documents.Document) (plans []planned, err error) {
	var faults []error
	var keyspaces []domain.Keyspace
	for i := range all {
		d := &all[i]
		var a struct {
			api.Keyspace            // of a plan: what both have
			Plan         api.DryRun `json:"plan"`
		}
		err := checkDocument(all[:i], d)
		if err == nil {
			err = c.put(cmd, d, 0, url.Values{"dry_run": {"true"}}, &a)
		}
		if err == nil && d.Kind == "keyspace" {
			err = overlap(d, keyspaces, &a.Keyspace)
			keyspaces = append(keyspaces, domain.Keyspace{Name: a.Name, KeyspaceDefinition: a.KeyspaceDefinition})
		}
		switch {
		case errors.As(err, new(*refusedDocument)), errors.As(err, new(*documents.Error)):
			faults = append(faults, err)
		case err != nil:
			return nil, err
		}
		plans = append(plans, planned{d.Kind, d.Name, a.Plan.Action, a.Plan.Changes, a.Revision})
	}
	return plans, c.tell(faults...)
}

// checkDocument refuses what no request can be made of, and a name that comes twice.
func checkDocument(before []documents.Document, d *documents.Document) error {
	same := func(b documents.Document) bool { return b.Kind == d.Kind && b.Name == d.Name }
	switch i := slices.IndexFunc(before, same); {
	case i >= 0:
		return d.Fault("name", fmt.Sprintf("is that of the document on line %d, too", before[i].Line))
	case kinds[d.Kind] == "":
		return d.Fault("kind", "must be "+oneOf(slices.Sorted(maps.Keys(kinds))))
	case url.PathEscape(d.Name) != d.Name || strings.Trim(d.Name, ".") == "": // which no path can have
		return d.Fault("name", "must be lower-case letters, digits, '-' and '_'")
	}
	return nil
}

// overlap refuses a format that another keyspace of the same file has, which the service does
// not know yet.
func overlap(d *documents.Document, others []domain.Keyspace, k *api.Keyspace) error {
	var refusal *domain.Error
	if errors.As(domain.NewKeyspaces(others).CheckOverlap(k.Name, k.Format), &refusal) {
		return d.Fault(refusal.Field, refusal.Text)
	}
	return nil
}

// put sends a document, on the condition that what it is of is at a revision; 0: at any.
func (c *client) put(cmd *cobra.Command, d *documents.Document, revision uint64, query url.Values, out any) error {
	header := http.Header{"Idempotency-Key": {rand.Text()}}
	if revision != 0 {
		header.Set("If-Match", fmt.Sprintf(`"%d"`, revision))
	}
	err := c.callWith(cmd.Context(), header, http.MethodPut, kinds[d.Kind]+url.PathEscape(d.Name), query, d.Fields, out)
	var refusal *problem
	if errors.As(err, &refusal) && slices.Contains(aboutDocuments, refusal.Status) {
		return &refusedDocument{d, refusal}
	}
	return err
}

// aboutDocuments are the statuses of refusals that are about what was sent, not about who sent
// it or when.
var aboutDocuments = []int{http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed, http.StatusRequestEntityTooLarge}

// A refusedDocument is a refusal of the service, told by the lines of the fields.
type refusedDocument struct {
	document *documents.Document
	refusal  *problem
}

func (e *refusedDocument) Error() string {
	var faults []error
	for _, f := range e.refusal.Errors {
		faults = append(faults, e.document.Fault(f.Field, f.Detail))
	}
	if faults == nil {
		faults = append(faults, e.document.Fault("", e.refusal.Error()))
	}
	return errors.Join(faults...).Error()
}

func (e *refusedDocument) Unwrap() error { return e.refusal }
