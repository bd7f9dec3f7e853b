package eventstore

import (
	"context"
	"time"
)

// A span is the messages of a stream from after, that one excluded, to upto.
type span struct{ after, upto Position }

func (sp span) empty() bool { return sp.after >= sp.upto }

// end is the message that all of sp goes up or, descending, down to.
func (sp span) end(descending bool) Position {
	if descending {
		return sp.after + 1
	}
	return sp.upto
}

// past is what is left of sp when it was read to the message at p.
func (sp span) past(p Position, descending bool) span {
	if descending {
		return span{sp.after, p - 1}
	}
	return span{p, sp.upto}
}

// last is the end of sp, so many positions at most.
func (sp span) last(width Position) span {
	if width < sp.upto-sp.after {
		sp.after = sp.upto - width
	}
	return sp
}

// How long before or after an event happened it may have been stored for From and To to find it:
// clocks differ, and uses that are answered before they are written wait while the ledger does not
// take them, each message for up to 90 s and behind others.
const (
	maxAhead = time.Minute
	maxDelay = 10 * time.Minute
)

// span is what c leaves of a stream in which f may choose something, up to its end now.
func (t *Trail) span(ctx context.Context, f Filter, c Cursor, s Stream) (sp span, err error) {
	end, err := t.end(ctx, s, c)
	if err != nil {
		return sp, err
	}
	begun := c.At[s] > 0
	sp = span{c.after(s), end}
	if c.Descending {
		sp.after = 0
		if begun {
			sp.upto = c.upto(s)
		}
	}
	if f.excludes(s) {
		return sp.none(c.Descending), nil
	}
	if !f.From.IsZero() && (c.Descending || !begun) {
		p, err := t.ledger.seek(ctx, s, f.From.Add(-maxAhead))
		if err != nil {
			return sp, err
		}
		sp.after = max(sp.after, p)
	}
	// What is asked for up to now goes to the end: a server that lags would find less.
	if until := f.To.Add(maxDelay); !f.To.IsZero() && until.Before(time.Now()) && (!c.Descending || !begun) {
		p, err := t.ledger.seek(ctx, s, until)
		if err != nil {
			return sp, err
		}
		sp.upto = min(sp.upto, p)
	}
	if sp.empty() {
		return sp.none(c.Descending), nil
	}
	return sp, nil
}

// none is an empty span at the end of sp.
func (sp span) none(descending bool) span {
	if descending {
		return span{sp.after, sp.after}
	}
	return span{sp.upto, sp.upto}
}
