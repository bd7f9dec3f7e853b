package api

import (
	"strconv"
	"strings"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

func etag(p eventstore.Position) string { return `"` + strconv.FormatUint(uint64(p), 10) + `"` }

func parseETag(s string) (eventstore.Position, error) {
	if s == "" || s == "*" {
		return 0, nil
	}
	text := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(s, "W/"), `"`), `"`)
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 {
		return 0, domain.InvalidField("If-Match", `must be an ETag that this service gave, like "17"`)
	}
	return eventstore.Position(n), nil
}
