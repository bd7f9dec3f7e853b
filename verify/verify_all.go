package verify

import (
	"context"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/tracing"
)

// VerifyAll is Verify for several requests, which have one deadline, and whose uses share as few
// messages to the ledger as they fit into. If some use cannot be recorded it fails, and nothing is
// answered.
func (v *Verifier) VerifyAll(ctx context.Context, requests []Request, answers []Answer) error {
	deadline := time.Now().Add(useTimeout)
	if err := v.ledger.AwaitFresh(ctx, deadline); err != nil {
		return err
	}
	for i := range requests {
		a := &answers[i]
		a.deadline, a.counted, a.metered = deadline, a.counted[:0], 0
		if err := v.evaluate(&requests[i], a); err != nil {
			return err
		}
	}
	if err := v.recordAll(ctx, requests, answers, deadline); err != nil {
		return err
	}
	if err := v.ledger.AwaitFresh(ctx, deadline); err != nil {
		return err
	}
	for i := range requests {
		if err := v.settleRecorded(ctx, &requests[i], &answers[i]); err != nil {
			return err
		}
	}
	for i := range answers {
		v.outcomes.count(answers[i].Outcome)
	}
	return nil
}

func (v *Verifier) recordAll(ctx context.Context, requests []Request, answers []Answer, deadline time.Time) (err error) {
	uses := make([]domain.KeyUsed, len(requests))
	all := make([]use, 0, len(requests))
	for i := range requests {
		if a := &answers[i]; a.Outcome != domain.UseNotFound {
			uses[i] = requests[i].recorded(a)
			all = append(all, use{&uses[i], a.holder(), a.Position})
		}
	}
	ctx, finish := tracing.Start(ctx, "record the uses")
	defer func() { finish(err) }()
	return v.recorder.recordAll(ctx, all, deadline)
}

// settleRecorded is settle for a request whose outcome is recorded already, and whose secret is that
// of a key.
func (v *Verifier) settleRecorded(ctx context.Context, r *Request, a *Answer) error {
	if a.Outcome != domain.UseNotFound {
		current, err := v.current(r, a)
		if current || err != nil {
			return err
		}
		if err := v.evaluate(r, a); err != nil {
			return err
		}
	}
	return v.settle(ctx, r, a)
}
