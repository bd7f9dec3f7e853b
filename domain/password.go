package domain

import (
	"fmt"
	"log/slog"
)

// A PasswordHash is all that is kept of a password, in PHC's string format: the function, its
// parameters, the salt and the hash. It prints as [password], so that no log line or error has it.
type PasswordHash string

func (PasswordHash) String() string       { return "[password]" }
func (PasswordHash) GoString() string     { return "[password]" }
func (PasswordHash) LogValue() slog.Value { return slog.StringValue("[password]") }

// Format writes [password] whatever the verb.
func (PasswordHash) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[password]")) }
