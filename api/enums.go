package api

import (
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/projections"
)

// The words that the API takes and gives from a closed list. The document has each list
// from where it is owned.
type (
	keyStatus     string
	keySort       string
	reason        domain.Reason
	reasonOrNull  domain.Reason
	outcome       domain.Outcome
	outcomeCounts map[domain.Outcome]uint64
	eventType     string
	sinkType      domain.SinkType
	sinkFormat    domain.SinkFormat
	departedKeys  string
)

func (keyStatus) Schema(huma.Registry) *huma.Schema { return oneOf(domain.StateNames()) }
func (reason) Schema(huma.Registry) *huma.Schema    { return oneOf(domain.Reasons) }
func (outcome) Schema(huma.Registry) *huma.Schema   { return oneOf(domain.Outcomes[:]) }
func (departedKeys) Schema(huma.Registry) *huma.Schema {
	return oneOf([]departedKeys{revokeDeparted, handOverDeparted})
}
func (eventType) Schema(huma.Registry) *huma.Schema { return oneOf(eventTypes) }
func (sinkType) Schema(huma.Registry) *huma.Schema  { return oneOf(domain.SinkTypeNames()) }
func (sinkFormat) Schema(huma.Registry) *huma.Schema {
	return oneOf([]domain.SinkFormat{domain.FormatCloudEvents, domain.FormatOCSF, domain.FormatECS, domain.FormatCEF})
}

func (keySort) Schema(huma.Registry) *huma.Schema {
	var all []string
	for _, by := range projections.SortKeys {
		all = append(all, by, "-"+by)
	}
	return oneOf(all)
}

func (reasonOrNull) Schema(huma.Registry) *huma.Schema {
	s := oneOf(domain.Reasons)
	s.Nullable, s.Enum = true, append(s.Enum, nil)
	return s
}

func (outcomeCounts) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: "object", AdditionalProperties: &huma.Schema{Type: "integer", Format: "int64"},
		Extensions: map[string]any{"propertyNames": oneOf(domain.Outcomes[:])}}
}

func oneOf[S ~string](words []S) *huma.Schema {
	s := &huma.Schema{Type: "string"}
	for _, w := range slices.Clone(words) {
		s.Enum = append(s.Enum, string(w))
	}
	return s
}
