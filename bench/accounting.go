package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// accounting holds the answers that were given against the uses on the ledger.
func accounting(ctx context.Context, e *env) error {
	onLedger, err := recorded(ctx, e.ledger(), string(e.verifier.Key.ID))
	if err == nil && !maps.Equal(onLedger, e.result.Answered) {
		err = fmt.Errorf("%v were answered, %v are recorded as uses", e.result.Answered, onLedger)
	}
	return err
}

// forwardAuth is the principal of uses that gateways asked about.
const forwardAuth = "authorize"

// recorded counts the uses in the ledger in dir that the verifier and gateways asked about. Refused
// unknown credentials are summed up on the ledger: they count for as many as they stand. Of
// a request that was decided again, because its key changed, the refusal was answered.
func recorded(ctx context.Context, dir, verifier string) (outcomeCounts, error) {
	counts := outcomeCounts{}
	refused := map[string]bool{} // requests
	return counts, withLedger(ctx, dir, func(_ *nats.Conn, l *eventstore.Ledger) error {
		err := eachUse(ctx, l, func(e domain.Event) {
			if e, ok := e.(domain.KeyUsed); ok && e.Code != domain.UseValid && e.RequestID != "" {
				refused[strings.Clone(e.RequestID)] = true
			}
		})
		if err != nil {
			return err
		}
		return eachUse(ctx, l, func(e domain.Event) {
			switch e := e.(type) {
			case domain.KeyUsed:
				again := e.Code == domain.UseValid && refused[e.RequestID]
				asked := e.Principal == verifier || e.Principal == forwardAuth
				if asked && string(e.Key) != verifier && !again {
					counts[e.Code]++
				}
			case domain.CredentialsRefused:
				if e.Principal == verifier {
					counts[domain.UseNotFound] += e.Count
				}
			}
		})
	})
}

func eachUse(ctx context.Context, l *eventstore.Ledger, do func(domain.Event)) error {
	return l.Read(ctx, eventstore.Query{Reach: domain.All, Stream: eventstore.Uses}, func(b eventstore.Batch) error {
		for _, r := range b.Records {
			do(r.Event)
		}
		return nil
	})
}

func accountingText(r *report) string {
	var b strings.Builder
	for _, s := range slices.Concat(r.Sizes, r.Others) {
		if len(s.Answered) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\nAt %s, answers given and found on the ledger as uses: %s.", s.size(), s.Answered)
	}
	return b.String() + "\n"
}

func (c outcomeCounts) String() string {
	var words []string
	for _, code := range domain.Outcomes {
		if n := c[code]; n > 0 {
			words = append(words, fmt.Sprintf("%s %d", code, n))
		}
	}
	return strings.Join(words, ", ")
}
