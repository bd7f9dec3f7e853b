package main

import (
	"crypto/rand"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
	"pgregory.net/rapid"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/domain"
)

// someFormat draws a format whose secrets a scanner can find.
func someFormat(t *rapid.T) domain.Format {
	f := domain.Format{
		Prefix:   rapid.StringMatching(`[A-Za-z0-9_.-]{1,24}`).Draw(t, "prefix"),
		Alphabet: rapid.SampledFrom(domain.Alphabets).Draw(t, "alphabet"),
		Length:   rapid.IntRange(32, 128).Draw(t, "length"),
		Checksum: rapid.SampledFrom([]domain.Checksum{"", domain.CRC32}).Draw(t, "checksum"),
	}
	for i, tag := range rapid.SliceOfNDistinct(rapid.StringMatching(`[A-Za-z0-9_.-]{1,16}`), 0, 3, rapid.ID).Draw(t, "tags") {
		f.Environments = append(f.Environments, domain.Environment{Name: string(rune('a' + i)), Tag: tag})
	}
	return f
}

func mintText(s *domain.Shape) string {
	random := make([]byte, s.RandomBytes())
	_, _ = rand.Read(random)
	return s.Mint(random).Reveal()
}

// word reports whether there is a character of a word at i.
func word(text string, i int) bool {
	return i >= 0 && i < len(text) && regexp.MustCompile(`^\w`).MatchString(text[i:])
}

// holds reports whether text has a secret of a shape that is not a part of a longer word. The
// checksum may be any.
func holds(text string, shapes []domain.Shape) bool {
	for _, s := range shapes {
		s.Check, s.Length = 0, s.Length+s.Check
		for i := 0; i+s.Size() <= len(text); i++ {
			if end := i + s.Size(); s.Matches(text[i:end]) && !word(text, i-1) && !word(text, end) {
				return true
			}
		}
	}
	return false
}

// nearMisses are texts that are almost a secret.
func nearMisses(s *domain.Shape, secret string) map[string]string {
	wrong := map[domain.Alphabet]string{domain.Hex: "g", domain.Base32: "a", domain.Base36: "A", domain.Base62: "_"}[s.Alphabet]
	head, rest, end := secret[:len(s.Head)], secret[len(s.Head):], len(secret)-1
	return map[string]string{"one short": secret[:end], "one long": secret + secret[end:], "another alphabet": secret[:end] + wrong, "in a word": "x" + secret,
		"another head": head[:len(head)-1] + "~" + rest, "no head": rest, "a line break": secret[:end-3] + "\n" + secret[end-3:]}
}

func TestScannerRulesFindSecretsAndNoNearMisses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := api.Keyspace{Name: "k", KeyspaceDefinition: domain.KeyspaceDefinition{Format: someFormat(t)}, FormerFormats: []domain.Format{someFormat(t)}}
		rule, whole := scannerRuleOf(k)
		if !whole {
			t.Fatalf("no rule for %+v", k)
		}
		find, shapes := regexp.MustCompile(rule.regex), append(k.Format.Shapes(), k.FormerFormats[0].Shapes()...)
		for i := range shapes {
			s := &shapes[i]
			secret := mintText(s)
			for _, around := range []string{"%", "key = \"%\"", "Bearer %\n", "https://h/?k=%&x=1", "(%)", "x: %\r\n"} {
				if m := find.FindStringSubmatch(strings.ReplaceAll(around, "%", secret)); m == nil || m[1] != secret {
					t.Errorf("%s is not found in %q by %s", secret, around, rule.regex)
				}
			}
			if found := len(find.FindAllString(secret+","+secret, -1)); found != 2 {
				t.Errorf("%d of two secrets in a row are found", found)
			}
			if !slices.ContainsFunc(rule.keywords, func(k string) bool { return strings.Contains(secret, k) }) {
				t.Errorf("none of the keywords %q is in %s", rule.keywords, secret)
			}
			for name, near := range nearMisses(s, secret) {
				if found := find.MatchString(near); found != holds(near, shapes) {
					t.Errorf("%s, %s: found is %v by %s", name, near, found, rule.regex)
				}
			}
		}
	})
}

func TestNearMissesAreNotFound(t *testing.T) {
	for _, f := range []domain.Format{{Prefix: "pingd-", Alphabet: domain.Hex, Length: 32}, {Prefix: "kt_live_", Alphabet: domain.Base62, Length: 32, Checksum: domain.CRC32}, {Prefix: "-x.", Alphabet: domain.Base32, Length: 26},
		{Prefix: "pw_", Environments: []domain.Environment{{Name: "live", Tag: "live_"}, {Name: "test", Tag: "test_"}}, Alphabet: domain.Base36, Length: 32}} {
		rule, _ := scannerRuleOf(api.Keyspace{Name: "k", KeyspaceDefinition: domain.KeyspaceDefinition{Format: f}})
		for _, s := range f.Shapes() {
			secret := mintText(&s)
			near := nearMisses(&s, secret)
			near["another tag"] = strings.Replace(secret, "live_", "life_", 1)
			for name, text := range near {
				if text != secret && regexp.MustCompile(rule.regex).MatchString(text) {
					t.Errorf("%s, %s, is found by %s", name, text, rule.regex)
				}
			}
		}
	}
}

// The rules are what the scanners read, and a format without a prefix is told.
func TestScannerRulesOnTheCommandLine(t *testing.T) {
	r := launch(t, t.TempDir())
	expect(t, r.command(t, pingd+"---\n{kind: keyspace, name: bare, format: {alphabet: hex, length: 40}}\n", "keyspaces", "apply", "-f", "-"), exitOK)
	rules := r.command(t, "", "keyspaces", "scanner-rules")
	if expect(t, rules, exitOK, "bare has a format without a prefix"); strings.Contains(rules.out, "bare") {
		t.Error(rules.out)
	}
	const rule = "[[rules]]\nid = \"keytrail-pingd\"\ndescription = \"A key of the keyspace pingd\"\nregex = '''(\\bpingd-[0-9a-f]{32}\\b)'''\nkeywords = [\"pingd-\"]\n"
	expect(t, rules, exitOK, rule, "keytrail-default", "keytrail-keytrail")
	var detectors struct {
		Detectors []struct {
			Name     string
			Keywords []string
			Regex    map[string]string
		}
	}
	rules = r.command(t, "", "keyspaces", "scanner-rules", "--format", "trufflehog", "pingd")
	if err := yaml.Unmarshal([]byte(rules.out), &detectors); err != nil || len(detectors.Detectors) != 1 || detectors.Detectors[0].Regex["token"] != `(\bpingd-[0-9a-f]{32}\b)` {
		t.Errorf("%v: %+v of %s", err, detectors, rules.out)
	}
	none := r.command(t, "", "keyspaces", "scanner-rules", "--format", "trufflehog", "bare")
	if err := yaml.Unmarshal([]byte(none.out), &detectors); err != nil || none.code != exitOK || !strings.Contains(none.out, "[]") {
		t.Errorf("%v: %+v", err, none)
	}
	expect(t, r.command(t, "", "keyspaces", "scanner-rules", "--format", "grep"), exitUsage, "gitleaks or trufflehog")
	expect(t, r.command(t, "", "keyspaces", "scanner-rules", "nope"), exitRefused, "keyspace_not_found")
}
