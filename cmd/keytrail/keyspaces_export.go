package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/domain"
)

func exportKeyspacesCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "export [NAME…]", Short: "Print keyspaces as a file that apply takes; without names, all that can be changed", ValidArgsFunction: c.keyspaceNames,
		RunE: func(cmd *cobra.Command, names []string) error {
			all, err := c.keyspaces(cmd.Context(), names)
			if err != nil {
				return err
			}
			documents, files := []keyspaceDocument{}, []string{}
			for _, k := range all {
				if len(names) > 0 || k.Name != domain.ManagementKeyspace {
					documents, files = append(documents, documentOf(k)), append(files, keyspaceFile(k))
				}
			}
			return c.show(cmd, documents, func(w io.Writer) { fmt.Fprint(w, strings.Join(files, "---\n")) })
		}}
}

// A keyspaceDocument is a keyspace as a file has it.
type keyspaceDocument struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	domain.KeyspaceDefinition
}

func documentOf(k api.Keyspace) keyspaceDocument {
	return keyspaceDocument{"keyspace", k.Name, k.KeyspaceDefinition}
}

func keyspaceFile(k api.Keyspace) string { return fileOf(documentOf(k)) }

// fileOf is a document as YAML, its fields in the order in which they are defined.
func fileOf(document any) string {
	text, err := json.Marshal(document)
	if err != nil {
		panic(err) // texts and numbers alone
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	file, err := yaml.Dump(nodeOf(d), yaml.WithLineWidth(-1)) // a long text stays in one line
	if err != nil {
		panic(err) // what JSON has, YAML has
	}
	return string(file)
}

// nodeOf is the next value of d, which is JSON, as YAML.
func nodeOf(d *json.Decoder) *yaml.Node {
	token, _ := d.Token()
	n := &yaml.Node{}
	switch v := token.(type) {
	case json.Delim:
		n.Kind = yaml.SequenceNode
		if v == '{' {
			n.Kind = yaml.MappingNode
		}
		for d.More() {
			n.Content = append(n.Content, nodeOf(d))
		}
		_, _ = d.Token()
	case json.Number:
		n.Kind, n.Tag, n.Value = yaml.ScalarNode, "!!int", v.String()
	default:
		_ = n.Encode(v)
	}
	return n
}
