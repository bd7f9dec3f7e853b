package projections

import "github.com/keytrail/keytrail/domain"

// maxSortedHistory is how many keys a listing of a past moment sorts by what they were, some
// 50 ms of work; tests lower it. When a key was created never changes: in that order any number
// is walked.
var maxSortedHistory = 10_000

var errHistoryOrder = domain.InvalidField("sort", "so many keys can be listed as they were in the order of created_at alone; take that, or name an organization or a keyspace with fewer keys")

// formerPage is page of a past moment. Of the indexes that of creation alone is of use: in the
// others keys are where they are now.
func (l *listing) formerPage(page *KeyPage) error {
	if l.order == byCreation {
		return l.walked(page)
	}
	index := filterIndex{rows: l.keys}
	for _, prefix := range l.indexRuns(byCreation) {
		index.spans = append(index.spans, byCreation.values(&l.KeyQuery).span(prefix, false))
	}
	ids, all := index.collect(maxSortedHistory)
	if !all {
		return errHistoryOrder
	}
	return l.sorted(ids, page)
}
