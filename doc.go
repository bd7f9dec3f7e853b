// Package keytrail is the root of the Keytrail service, an event-sourced API-key service;
// the program is in cmd/keytrail. The root holds only the tests of the whole repository:
// who may import whom, and that the README is true.
package keytrail
