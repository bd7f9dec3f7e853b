// Package keytrail is the root of the Keytrail service, an event-sourced API-key service;
// the program is in cmd/keytrail. The root holds only the tests of the whole repository:
// which package may import which, and that the README and the other documents are true.
package keytrail
