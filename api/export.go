package api

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/projections"
)

// exportAtOnce is how many keys are read and written at a time; tests lower it.
var exportAtOnce = 500

// The trailers of an export: how many lines it has, and what has none.
const (
	trailerExported = "Keytrail-Exported"
	trailerLeftOut  = "Keytrail-Left-Out"
)

// exportKeys streams a line for each active key of a product, as an import takes it, digest
// included. What is not active is left out, for an import would make it active, and so are
// management keys and secrets in their overlap.
func (s *server) exportKeys(w http.ResponseWriter, r *http.Request, p domain.Principal) error {
	to, done, err := s.wholeStream(w, r, p, "application/x-ndjson")
	if err != nil {
		return err
	}
	defer done()
	w.Header().Set("Trailer", trailerExported+", "+trailerLeftOut)
	x := export{leftOut: map[string]int{}}
	ctx, stop := s.whileServing(r.Context())
	defer stop()
	for after := domain.KeyID(""); ; {
		page, err := s.Store.KeysAfter(after, exportAtOnce)
		if err == nil && len(page) == 0 {
			break
		}
		if err == nil {
			after = page[len(page)-1].ID
			_, err = to.Write(s.exportLines(&x, page))
		}
		err = cmp.Or(err, ctx.Err())
		if err != nil {
			s.abort(r, err)
		}
	}
	w.Header().Set(trailerExported, fmt.Sprint(x.lines))
	w.Header().Set(trailerLeftOut, x.String())
	return nil
}

// An export counts what became of the keys.
type export struct {
	lines   int
	leftOut map[string]int
}

func (x *export) String() string {
	n := x.leftOut
	return fmt.Sprintf("disabled=%d expired=%d revoked=%d management=%d overlapping_secrets=%d", n["disabled"], n["expired"], n["revoked"], n["management"], n["overlapping_secrets"])
}

func (s *server) exportLines(x *export, page []projections.KeyRow) (text []byte) {
	now := s.Now()
	for i := range page {
		k := &page[i].Key
		switch state := k.StateAt(now); {
		case k.Keyspace == domain.ManagementKeyspace:
			x.leftOut["management"]++
			continue
		case state != domain.Active:
			x.leftOut[state.String()]++
			continue
		}
		for _, s := range k.Secrets[1:] {
			if now.Before(s.ValidUntil) {
				x.leftOut["overlapping_secrets"]++
			}
		}
		current := k.Secrets[0]
		line, err := json.Marshal(importLine{Org: string(k.Org), Keyspace: k.Keyspace, Environment: k.Environment, Settings: k.Settings, Digest: hex.EncodeToString(current.Digest[:]), Prefix: current.Prefix})
		if err != nil {
			panic(err) // texts, numbers and times alone
		}
		x.lines++
		text = append(append(text, line...), '\n')
	}
	return text
}

func documentExport() description {
	return description{summary: "Export keys as lines for an import", details: "A line for each active key of a product, with the digest of its newest secret. " +
		"The trailers Keytrail-Exported and Keytrail-Left-Out count; a stream that is cut off has none.",
		answer: map[string]*huma.MediaType{"application/x-ndjson": {Schema: &huma.Schema{Type: "string", Description: "One object a line, as an import takes it."}}}}
}
