package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// documented are the command lines of keytrail in a page: code spans, and lines of shell blocks.
func documented(page string) (all []string) {
	blocks := regexp.MustCompile("(?ms)^```[a-z ]*\n.*?^```$")
	for _, span := range regexp.MustCompile("`keytrail ([^`]+)`").FindAllStringSubmatch(blocks.ReplaceAllString(page, ""), -1) {
		all = append(all, span[1])
	}
	for _, block := range blocks.FindAllString(page, -1) {
		for _, line := range regexp.MustCompile(`(?m)(?:^|&& )(?:\./)?keytrail ([^#|<>&\n]+)`).FindAllStringSubmatch(block, -1) {
			all = append(all, line[1])
		}
	}
	return all
}

// TestTheDocsNameCommandsAndFlagsThatExist has the command line read each with --help.
func TestTheDocsNameCommandsAndFlagsThatExist(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, path := range append(pages, "../../README.md", "../../CHANGELOG.md") {
		page, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range documented(string(page)) {
			found++
			var out, errs bytes.Buffer
			args := strings.Fields(line)
			code := run(t.Context(), append(args, "--help"), strings.NewReader(""), &out, &errs)
			_, usage, _ := strings.Cut(out.String(), "Usage:\n  keytrail "+args[0])
			if len(args) > 1 && !strings.HasPrefix(args[1], "-") && strings.Contains(usage, "Available Commands:") {
				errs.WriteString("there is no such command below " + args[0])
			}
			if code != exitOK || usage == "" || errs.Len() > 0 {
				t.Errorf("%s: keytrail %s: %s", path, line, &errs)
			}
		}
	}
	if found < 30 {
		t.Errorf("only %d command lines were found", found)
	}
}
