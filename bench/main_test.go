package main

import (
	"os"
	"strings"
	"testing"
)

// TestMain lets the binary of the tests be its own children.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && roles[os.Args[1]] != nil {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestAllScenariosAnswerRight(t *testing.T) {
	var printed strings.Builder
	if err := bench(t.Context(), parse([]string{"-smoke", "-dir", t.TempDir()}), &printed); err != nil {
		t.Fatal(err)
	}
}
