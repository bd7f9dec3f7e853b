package domain

import "time"

// KeyLeaked is a report that a secret of the key was found where it should not be. Prefix is that of the
// secret that was found.
type KeyLeaked struct {
	Prefix string `json:"prefix"`
	Source string `json:"source"`        // what reported it
	URL    string `json:"url,omitempty"` // where it was found, as the report says
	Header
}

// maxLeaks is how many reports of one key are kept: its secret is known to others, who may report it as
// often as they like.
const maxLeaks = 20

// LeaksKept tells that no further report of the key is kept, which is final.
func (k Key) LeaksKept() bool { return k.Leaks >= maxLeaks }

// ReportLeak asks for a report to be kept.
type ReportLeak struct {
	Digest      Digest // of the secret that was found
	Source, URL string
	At          time.Time
	By          Principal
}

// ReportLeak decides whether the report is kept. It is, whatever has become of the key.
func (k Key) ReportLeak(c ReportLeak) (Event, error) {
	if k.State == Absent {
		return nil, ErrKeyNotFound
	}
	s, known := k.Secret(c.Digest)
	if !known || k.LeaksKept() {
		return nil, nil
	}
	return KeyLeaked{Prefix: s.Prefix, Source: c.Source, URL: c.URL, Header: Header{c.At, c.By.ID}}, nil
}
