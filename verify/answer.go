package verify

import (
	"strconv"

	"github.com/keytrail/keytrail/domain"
)

// AppendJSON appends the answer as the API gives it. What is the same for every use of a
// key comes ready from the read model.
func (a *Answer) AppendJSON(b []byte) []byte {
	if a.Outcome == domain.UseValid {
		b = append(b, `{"valid":true,"code":"`...)
	} else {
		b = append(b, `{"valid":false,"code":"`...)
	}
	b = append(b, a.Outcome...)
	b = append(b, '"')
	if a.Outcome != domain.UseNotFound {
		b = append(b, ',')
		b = append(b, a.Credential.Fragment...)
		b = append(b, `,"rate_limits":[`...)
		for i, l := range a.Limits {
			b = l.appendJSON(b, i > 0)
		}
		b = append(b, ']')
	}
	b = append(b, `,"position":`...)
	b = strconv.AppendUint(b, uint64(a.Position), 10)
	return append(b, '}')
}

func (l LimitState) appendJSON(b []byte, more bool) []byte {
	if more {
		b = append(b, ',')
	}
	b = append(b, `{"limit":`...)
	b = strconv.AppendInt(b, l.Limit, 10)
	b = append(b, `,"window":"`...)
	b = append(b, l.Window.String()...)
	b = append(b, `","remaining":`...)
	b = strconv.AppendInt(b, l.Remaining, 10)
	b = append(b, `,"reset":`...)
	b = strconv.AppendInt(b, l.Reset, 10)
	return append(b, '}')
}
