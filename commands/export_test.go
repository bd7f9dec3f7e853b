package commands

import (
	"context"
	"testing"
	"time"

	"github.com/keytrail/keytrail/eventstore"

	"github.com/keytrail/keytrail/domain"
)

// ExpireOverdue is one pass of ExpireKeys.
func (h *Handler) ExpireOverdue(ctx context.Context, index ExpiryIndex) { h.expireOverdue(ctx, index) }

// SetExpireEvery makes the passes of ExpireKeys follow one another sooner until the test ends.
func SetExpireEvery(t *testing.T, d time.Duration) {
	before := expireEvery
	t.Cleanup(func() { expireEvery = before })
	expireEvery = d
}

// SetMaxRemembered bounds how many requests a handler remembers until the test ends.
func SetMaxRemembered(t *testing.T, n int) {
	before := maxRemembered
	t.Cleanup(func() { maxRemembered = before })
	maxRemembered = n
}

// Remembered is how many requests h knows.
func (h *Handler) Remembered() int {
	h.requests.mu.Lock()
	defer h.requests.mu.Unlock()
	return len(h.requests.known)
}

// Sweeper gives the passes of SweepDataKeys, one a call.
func (h *Handler) Sweeper() func(context.Context) error {
	var unknown map[eventstore.DataKeyRef]bool
	return func(ctx context.Context) (err error) {
		unknown, err = h.sweepDataKeys(ctx, unknown)
		return err
	}
}

// ReleaseUnused is one pass of ReleasePlaces.
func (h *Handler) ReleaseUnused(ctx context.Context) { h.releaseUnused(ctx) }

// Ahead is a handler like h whose clock is ahead.
func (h *Handler) Ahead(d time.Duration) *Handler {
	return New(h.ledger, Options{Now: func() time.Time { return time.Now().Add(d) }, Logger: h.log, Index: h.requests.index, Keys: h.keys,
		Keyspaces: h.keyspaces, Quotas: h.quotas, DataKeys: h.dataKeys, ImportIDs: h.importIDs})
}

// SetNoticeEvery makes the passes of WriteNotices follow one another sooner until the test ends.
func SetNoticeEvery(t *testing.T, d time.Duration) {
	before := noticeEvery
	t.Cleanup(func() { noticeEvery = before })
	noticeEvery = d
}

// NoticePasses is the first n passes of WriteNotices.
func (h *Handler) NoticePasses(ctx context.Context, index NoticeIndex, n int) {
	var at noticeCursor
	for range n {
		at = h.noticePass(ctx, index, at)
	}
}

// SetMaxTrailReads bounds how many reads of the trail are counted.
func (h *Handler) SetMaxTrailReads(n int) { h.reads.most = n }

// SetMaxAccesses bounds how many other reads and refusals are counted.
func (h *Handler) SetMaxAccesses(n int) { h.accesses.most = n }

// WriteBegun is the pass of WriteSums that comes each second.
func (h *Handler) WriteBegun(ctx context.Context) {
	h.writeSums(ctx, h.accesses, h.accesses.takeBegun())
}

// WriteSumsAt is the passes of WriteSums that come at a time.
func (h *Handler) WriteSumsAt(ctx context.Context, now time.Time) {
	h.WriteBegun(ctx)
	h.writeDue(ctx, now)
}

// CountedReads is how many reads of the trail h counts.
func (h *Handler) CountedReads() int { return h.reads.len() }

// CountedAccesses is how many other reads and refusals h counts.
func (h *Handler) CountedAccesses() int { return h.accesses.len() }

func (t *sums) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID)
}

// FailLogIn is an attempt to log in that fails, without the hashing.
func (h *Handler) FailLogIn(ctx context.Context, a domain.LogInAttempt) (wait time.Duration, err error) {
	if wait, err = h.logIns.enter(a); err != nil || wait > 0 {
		return wait, err
	}
	h.logIns.leave(a, true)
	return 0, h.noteFailedLogIn(ctx, a.Account, "")
}

// FlushLogIns writes the sums of failed attempts to log in.
func (h *Handler) FlushLogIns(ctx context.Context) { h.flushLogIns(ctx) }

// RecentLogIns is how many back-offs have attempts that the read model does not have.
func (h *Handler) RecentLogIns() int { return len(h.logIns.recent) }
