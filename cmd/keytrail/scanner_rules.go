package main

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/domain"
)

// The scanners that there are rules for.
const (
	gitleaks   = "gitleaks"
	trufflehog = "trufflehog"
)

func scannerRulesCommand(c *client) *cobra.Command {
	var format string
	cmd := &cobra.Command{Use: "scanner-rules [NAME…]", Short: "Print rules with which scanners find secrets of keyspaces in code and logs", ValidArgsFunction: c.keyspaceNames,
		Long: `Print rules with which gitleaks, or trufflehog, finds secrets of the keyspaces that are
named, or of all: those of the present format and of those before. A format without a
prefix has no rule, as its secrets look like any random text.`,
		RunE: func(cmd *cobra.Command, names []string) error {
			write := map[string]func(io.Writer, []scannerRule){gitleaks: writeGitleaks, trufflehog: writeTrufflehog}[format]
			if write == nil {
				return fmt.Errorf("--format %s: %s", format, oneOf([]string{gitleaks, trufflehog}))
			}
			all, err := c.keyspaces(cmd.Context(), names)
			if err != nil {
				return err
			}
			var rules []scannerRule
			for _, k := range all {
				rule, whole := scannerRuleOf(k)
				if !whole {
					fmt.Fprintf(c.errs, "keytrail: %s has a format without a prefix; no rule finds its secrets\n", k.Name)
				}
				if rule.regex != "" {
					rules = append(rules, rule)
				}
			}
			write(cmd.OutOrStdout(), rules)
			return nil
		}}
	cmd.Flags().StringVar(&format, "format", gitleaks, "for which scanner: "+oneOf([]string{gitleaks, trufflehog}))
	return cmd
}

// A scannerRule finds the secrets of a keyspace.
type scannerRule struct {
	keyspace string
	regex    string   // RE2, whose first group is the secret; "": there is none
	keywords []string // one of which every secret has
}

// scannerRuleOf is the rule for the formats that a keyspace has and had. whole is false if one
// has nothing that a scanner could look for.
func scannerRuleOf(k api.Keyspace) (rule scannerRule, whole bool) {
	var patterns []string
	whole = true
	for _, f := range append([]domain.Format{k.Format}, k.FormerFormats...) {
		for _, s := range f.Shapes() {
			if s.Head == "" {
				whole = false
			} else if p := secretPattern(&s); !slices.Contains(patterns, p) {
				patterns, rule.keywords = append(patterns, p), append(rule.keywords, s.Head)
			}
		}
	}
	if patterns != nil {
		slices.Sort(rule.keywords)
		rule.keyspace, rule.regex, rule.keywords = k.Name, "("+strings.Join(patterns, "|")+")", slices.Compact(rule.keywords)
	}
	return rule, whole
}

// classes are the alphabets as regular expressions.
var classes = map[domain.Alphabet]string{domain.Hex: "[0-9a-f]", domain.Base32: "[A-Z2-7]", domain.Base36: "[0-9a-z]", domain.Base62: "[0-9A-Za-z]"}

// secretPattern is a secret of a shape that is not a part of a longer word. Its checksum,
// which a regular expression cannot compute, has the same alphabet.
func secretPattern(s *domain.Shape) string {
	before := `\b`
	if strings.IndexByte("-.", s.Head[0]) >= 0 { // no character of a word, as RE2 has it
		before = `\B`
	}
	return fmt.Sprintf(`%s%s%s{%d}\b`, before, regexp.QuoteMeta(s.Head), classes[s.Alphabet], s.Length+s.Check)
}

func writeGitleaks(w io.Writer, rules []scannerRule) {
	for _, r := range rules {
		fmt.Fprintf(w, "[[rules]]\nid = \"keytrail-%s\"\ndescription = \"A key of the keyspace %s\"\nregex = '''%s'''\nkeywords = [\"%s\"]\n\n",
			r.keyspace, r.keyspace, r.regex, strings.Join(r.keywords, `", "`))
	}
}

func writeTrufflehog(w io.Writer, rules []scannerRule) {
	if len(rules) == 0 {
		fmt.Fprintln(w, "detectors: []")
		return
	}
	fmt.Fprintln(w, "detectors:")
	for _, r := range rules {
		fmt.Fprintf(w, "  - name: keytrail-%s\n    keywords: ['%s']\n    regex:\n      token: '%s'\n", r.keyspace, strings.Join(r.keywords, "', '"), r.regex)
	}
}
