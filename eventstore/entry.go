package eventstore

import "sync/atomic"

// An Entry is a record of the trail, which all subscriptions share that it is for.
type Entry struct {
	Record
	memos atomic.Pointer[memo] // the newest
}

// A memo is what was made of an entry: a text in some format. There are as many as formats are in use.
type memo struct {
	name string
	made any
	next *memo
}

// Memo is what is made of the entry under a name, once for all subscriptions. Those that ask for it at
// the same moment do not wait for each other: each makes it then.
func (e *Entry) Memo(name string, make func(*Record) any) any {
	newest := e.memos.Load()
	for m := newest; m != nil; m = m.next {
		if m.name == name {
			return m.made
		}
	}
	m := &memo{name, make(&e.Record), newest}
	e.memos.CompareAndSwap(newest, m) // if another one was faster, this one is its maker's alone
	return m.made
}

// A cloudEventMemo is a record as a CloudEvent, or why it cannot be one.
type cloudEventMemo struct {
	event []byte
	err   error
}

// CloudEvent is the record's.
func (e *Entry) CloudEvent() ([]byte, error) {
	m := e.Memo("CloudEvent", func(r *Record) any {
		event, err := r.CloudEvent()
		return &cloudEventMemo{event, err}
	}).(*cloudEventMemo)
	return m.event, m.err
}
