package commands

import (
	"context"
	"slices"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// A NoticeIndex goes through keys. The read model does.
type NoticeIndex interface {
	// ActiveKeys are good keys of a keyspace, some at a time in the order of their creation. cursor is
	// "" or what the page before gave as next, which is "" at the end. A page can be empty.
	ActiveKeys(keyspace, cursor string, limit int, now time.Time) (page []UsedKey, next string, err error)
}

// A UsedKey is a key and when it was used last; zero: never.
type UsedKey struct {
	domain.Key
	LastUsedAt time.Time
}

// noticeEvery is the pause between passes over keys of keyspaces with notices; tests lower it.
var noticeEvery = time.Second

// maxNoticed bounds the keys of one pass, some 10 ms of work: a million take 17 minutes, and notices
// are about days.
const maxNoticed = 1000

// WriteNotices writes down which keys are about to expire, and which are idle, as their keyspaces
// say. It goes through the keys of these keyspaces again and again, some in each pass, until ctx
// ends. So it needs no memory of what it has seen, and finds what changed, whatever it was. Of many
// nodes that do so, the ledger lets one win.
func (h *Handler) WriteNotices(ctx context.Context, index NoticeIndex) {
	tick := time.NewTicker(noticeEvery)
	defer tick.Stop()
	var at noticeCursor
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			at = h.noticePass(ctx, index, at)
		}
	}
}

// A noticeCursor is where the next pass goes on.
type noticeCursor struct{ keyspace, cursor string }

// noticePass looks at about maxNoticed keys from a place on, and at each keyspace once at most.
func (h *Handler) noticePass(ctx context.Context, index NoticeIndex, at noticeCursor) noticeCursor {
	names := h.keyspacesWithNotices()
	for seen, ended := 0, 0; seen < maxNoticed && ended < len(names); {
		i, found := slices.BinarySearch(names, at.keyspace)
		if !found { // it is the first pass, or the keyspace has no notices any more
			i %= len(names)
			at = noticeCursor{keyspace: names[i]}
		}
		page, next, err := index.ActiveKeys(at.keyspace, at.cursor, maxNoticed, h.now())
		if err == nil {
			err = h.writeNotices(ctx, page)
		}
		if err != nil && ctx.Err() == nil {
			h.log.WarnContext(ctx, "notices not written; a later pass tries again", "keyspace", at.keyspace, "err", err)
		}
		seen += max(len(page), maxNoticed/10) // what a page costs that has few keys
		if at.cursor = next; next == "" {
			ended++
			at = noticeCursor{keyspace: names[(i+1)%len(names)]}
		}
	}
	return at
}

// keyspacesWithNotices are their names, sorted.
func (h *Handler) keyspacesWithNotices() (names []string) {
	all := h.keyspaces.Keyspaces()
	for _, name := range all.Names() {
		if k, err := all.Named(name); err == nil && k.Notices != (domain.Notices{}) {
			names = append(names, name)
		}
	}
	return names
}

// writeNotices writes those that are due of some keys. One whose notice cannot be written does not
// keep the others from theirs.
func (h *Handler) writeNotices(ctx context.Context, keys []UsedKey) (err error) {
	for i := range keys {
		k := &keys[i]
		policy, failure := h.policyOf(k.Key)
		for _, note := range []func(domain.Key) (domain.Event, error){
			func(state domain.Key) (domain.Event, error) { return policy.Notices.NoteExpiring(state, h.now()) },
			func(state domain.Key) (domain.Event, error) {
				return policy.Notices.NoteIdle(state, k.LastUsedAt, h.now())
			},
		} {
			if event, _ := note(k.Key); event != nil && failure == nil {
				_, failure = h.onKey(ctx, k.Org, k.ID, Request{By: domain.System}, note)
			}
		}
		if failure != nil {
			err = failure
		}
	}
	return err
}
