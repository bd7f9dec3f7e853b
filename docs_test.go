package keytrail_test

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/domain"
)

var link = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)

// TestLinks follows every link of the documents to another file.
func TestLinks(t *testing.T) {
	links := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && d.Name() == "node_modules" {
			return fs.SkipDir
		}
		if err != nil || !strings.HasSuffix(path, ".md") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			links++
			if _, missing := os.Stat(filepath.Join(filepath.Dir(path), m[1])); missing != nil {
				t.Errorf("%s: %v", path, missing)
			}
		}
		return err
	})
	if err != nil || links < 20 {
		t.Errorf("%d links, %v", links, err)
	}
}

// TestDecisionsAreNumbered finds no number twice.
func TestDecisionsAreNumbered(t *testing.T) {
	files, err := os.ReadDir("docs/decisions")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	by := map[string]string{}
	for _, f := range files {
		number, _, _ := strings.Cut(f.Name(), "-")
		if other := by[number]; other != "" {
			t.Errorf("%s and %s have one number", other, f.Name())
		}
		by[number] = f.Name()
	}
}

// TestContributingSaysWhatCIRuns finds each command of CONTRIBUTING.md among those of CI, which
// are .ci/run's and the README's tests.
func TestContributingSaysWhatCIRuns(t *testing.T) {
	ci := read(t, ".ci/run") + fences(t, "README.md")["sh test"][0]
	commands := strings.Split(strings.TrimSpace(strings.Join(fences(t, "CONTRIBUTING.md")["sh ci"], "")), "\n")
	if len(commands) < 4 {
		t.Errorf("it has only %q", commands)
	}
	for _, command := range commands {
		if !strings.Contains(ci, command+"\n") {
			t.Errorf("CI does not run %q", command)
		}
	}
}

// TestChanging finds each path and each declaration that docs/changing.md names. A code span is
// a path, `path: name, name` or `package.name`; a method's name is Type.method.
func TestChanging(t *testing.T) {
	names := 0
	for _, row := range tableRows(read(t, "docs/changing.md")) {
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row, -1) {
			path, list, declared := strings.Cut(m[1], ": ")
			if folder, name, ok := strings.Cut(m[1], "."); ok && token.IsExported(name) {
				path, list, declared = folder, name, true
			}
			if _, err := os.Stat(path); err != nil {
				t.Error(err)
				continue
			}
			if !declared {
				continue
			}
			has := declarations(t, path)
			for _, name := range strings.Split(list, ", ") {
				names++
				if !slices.Contains(has, name) {
					t.Errorf("%s has no %s", path, name)
				}
			}
		}
	}
	if names < 25 {
		t.Errorf("only %d names were looked for", names)
	}
}

// declarations are the names that a Go file, or a folder's files but for tests, declare.
func declarations(t *testing.T, path string) (names []string) {
	files := []string{path}
	if filepath.Ext(path) != ".go" {
		files, _ = filepath.Glob(filepath.Join(path, "*.go"))
		files = slices.DeleteFunc(files, func(f string) bool { return strings.HasSuffix(f, "_test.go") })
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				names = append(names, receiver(d)+d.Name.Name)
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						names = append(names, spec.Name.Name)
					case *ast.ValueSpec:
						for _, n := range spec.Names {
							names = append(names, n.Name)
						}
					}
				}
			}
		}
	}
	return names
}

// receiver is the type that a method belongs to, and a dot; "" for a function.
func receiver(f *ast.FuncDecl) (name string) {
	if f.Recv == nil {
		return ""
	}
	ast.Inspect(f.Recv.List[0].Type, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && name == "" {
			name = id.Name + "."
		}
		return true
	})
	return name
}

// TestGlossary finds each word of the glossary in the code, and each outcome in the glossary.
func TestGlossary(t *testing.T) {
	rows := tableRows(read(t, "docs/glossary.md"))
	code := sources(t)
	words := 0
	for _, row := range rows {
		term, meaning, _ := strings.Cut(strings.Trim(row, "| "), " | ")
		for _, word := range strings.Split(term, ", ") {
			words++
			if !strings.Contains(code, word) && !strings.Contains(code, strings.ReplaceAll(word, " ", "")) {
				t.Errorf("%q is nowhere in the code", word)
			}
		}
		if term != "outcome" {
			continue
		}
		for _, o := range domain.Outcomes {
			if !strings.Contains(meaning, "`"+string(o)+"`") {
				t.Errorf("the outcome %s is missing", o)
			}
		}
	}
	if words < 70 {
		t.Errorf("only %d words were looked for", words)
	}
}

// sources is the text of all Go files but tests, in lower case, on one line without the
// marks of comments.
func sources(t *testing.T) string {
	var all strings.Builder
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		all.WriteString(read(t, path))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.ToLower(regexp.MustCompile(`\s+(// )?`).ReplaceAllString(all.String(), " "))
}

// tableRows are the rows of a text's tables, without their heads.
func tableRows(text string) (rows []string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "|---") {
			rows = rows[:len(rows)-1]
		} else if strings.HasPrefix(line, "|") {
			rows = append(rows, strings.TrimSpace(line))
		}
	}
	return rows
}

func read(t *testing.T, path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestEveryFieldOfAKeyspaceIsDocumented finds each in the table of docs/keyspaces.md, and none
// that there is not.
func TestEveryFieldOfAKeyspaceIsDocumented(t *testing.T) {
	var documented []string
	for _, row := range tableRows(read(t, "docs/keyspaces.md")) {
		if m := regexp.MustCompile("^\\| `([a-z_.\\[\\]]+)` \\|.*\\|.*\\|.*\\|$").FindStringSubmatch(row); m != nil {
			documented = append(documented, m[1])
		}
	}
	fields := append(fieldsOf(reflect.TypeFor[domain.KeyspaceDefinition](), ""), "name")
	for _, f := range fields {
		// A group without a meaning of its own, and the same reply again.
		group := slices.ContainsFunc(fields, func(g string) bool { return strings.HasPrefix(g, f+".") }) && f != "tokens" && f != "requirements[].reply"
		if !slices.Contains(documented, f) && !group && !strings.HasPrefix(f, "requirements[].reply.") {
			t.Errorf("%s is not in the table", f)
		}
	}
	for _, f := range documented {
		if !slices.Contains(fields, f) {
			t.Errorf("%s is in the table, and there is no such field", f)
		}
	}
}

// fieldsOf are the paths of the JSON fields of a type.
func fieldsOf(at reflect.Type, path string) (all []string) {
	switch at.Kind() {
	case reflect.Pointer:
		return fieldsOf(at.Elem(), path)
	case reflect.Slice:
		if at.Elem().Kind() == reflect.Struct {
			return fieldsOf(at.Elem(), path+"[]")
		}
	case reflect.Struct:
		for _, f := range reflect.VisibleFields(at) {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
				field := strings.TrimPrefix(path+"."+name, ".")
				all = append(append(all, field), fieldsOf(f.Type, field)...)
			}
		}
	}
	return all
}

// TestSinkTypesAreDocumented: docs/sinks.md has the table of types as the code has it, and a row of each
// setting and credential.
func TestSinkTypesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("docs/sinks.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	code := func(all []string, needs []string) string {
		var names []string
		for _, name := range all {
			name, needed := "`"+name+"`", slices.Contains(needs, name)
			if needed {
				name = "**" + name + "**"
			}
			names = append(names, name)
		}
		return cmp.Or(strings.Join(names, ", "), "-")
	}
	for _, e := range domain.SinkTypes {
		var formats []string
		for _, f := range e.Formats {
			formats = append(formats, string(f))
		}
		of := map[bool]string{true: "installation", false: "both"}[e.Installation]
		line := "| `" + string(e.Type) + "` | " + strings.Join([]string{of, code(e.Schemes, nil), code(formats, nil), code(e.Settings, e.Needs), code(e.Credentials, e.Needs)}, " | ") + " |"
		if !strings.Contains(page, line+"\n") {
			t.Errorf("docs/sinks.md should have\n%s", line)
		}
		for _, name := range slices.Concat(e.Settings, e.Credentials) {
			if !strings.Contains(page, "\n| `"+name+"`") {
				t.Errorf("docs/sinks.md has no row of %s", name)
			}
		}
	}
}
