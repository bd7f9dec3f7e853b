package eventstore

import (
	"strconv"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/fastjson"
)

// AppendCloudEvent appends what CloudEvent gives. Of uses, which are nearly all that a replay
// reads, it is written by hand.
func (r *Record) AppendCloudEvent(b []byte) ([]byte, error) {
	if u, ok := r.Event.(domain.KeyUsed); ok {
		return r.appendUse(b, &u), nil
	}
	event, err := r.CloudEvent()
	return append(b, event...), err
}

func (r *Record) appendUse(b []byte, u *domain.KeyUsed) []byte {
	b = fastjson.AppendMember(b, `{"specversion":"1.0","id":`, r.ID)
	b = strconv.AppendInt(append(b[:len(b)-1], '.'), int64(r.Index), 10)
	b = append(b, `","source":"/keytrail/uses","type":"`...)
	b = append(append(b, typeUsed...), '"')
	b = fastjson.AppendOptionalMember(b, `,"subject":`, r.Subject)
	b = appendTime(append(b, `,"time":`...), r.Time)
	b = append(b, `,"datacontenttype":"application/json"`...)
	if r.Position != 0 {
		b = strconv.AppendUint(append(b, `,"position":"`...), uint64(r.Position), 10)
		b = append(strconv.AppendInt(append(b, '.'), int64(r.Index), 10), '"')
	}
	b = fastjson.AppendMember(b, `,"orgid":`, string(r.Org))
	b = fastjson.AppendOptionalMember(b, `,"actor":`, r.Actor)
	b = fastjson.AppendOptionalMember(b, `,"correlationid":`, r.Correlation)
	b = fastjson.AppendOptionalMember(b, `,"node":`, r.Node)
	b = strconv.AppendUint(append(b, `,"decided":"`...), uint64(r.Decided), 10)
	b = append(b, `","data":`...)
	return append(appendUseData(b, u), '}')
}

// appendUseData appends u as encoding/json writes it.
func appendUseData(b []byte, u *domain.KeyUsed) []byte {
	b = fastjson.AppendMember(b, `{"key_id":`, string(u.Key))
	b = fastjson.AppendMember(b, `,"code":`, string(u.Code))
	if len(u.Scopes) > 0 {
		b = fastjson.AppendStrings(append(b, `,"scopes":`...), u.Scopes)
	}
	b = fastjson.AppendOptionalMember(b, `,"ip":`, u.IP)
	b = fastjson.AppendOptionalMember(b, `,"principal":`, u.Principal)
	b = fastjson.AppendOptionalMember(b, `,"request_id":`, u.RequestID)
	b = fastjson.AppendOptionalMember(b, `,"resource":`, u.Resource)
	if u.Cost != 0 {
		b = fastjson.AppendIntMember(b, `,"cost":`, u.Cost)
	}
	if len(u.Windows) > 0 {
		b = fastjson.AppendInts(append(b, `,"windows":`...), u.Windows)
	}
	b = fastjson.AppendOptionalMember(b, `,"plan":`, u.Plan)
	b = fastjson.AppendOptionalMember(b, `,"owner":`, u.Owner)
	b = appendTime(append(b, `,"at":`...), u.At)
	if u.Count != 0 {
		b = fastjson.AppendIntMember(b, `,"count":`, u.Count)
	}
	if !u.First.IsZero() {
		b = appendTime(append(b, `,"first":`...), u.First)
	}
	if len(u.Addresses) > 0 {
		b = fastjson.AppendStrings(append(b, `,"addresses":`...), u.Addresses)
	}
	if len(u.Resources) > 0 {
		b = fastjson.AppendStrings(append(b, `,"resources":`...), u.Resources)
	}
	return append(b, '}')
}

func appendTime(b []byte, t time.Time) []byte {
	return append(t.AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
}
