package domain

// An Outcome is the answer to one use of a key.
type Outcome string

// The outcomes of a use.
const (
	UseValid             Outcome = "VALID"
	UseNotFound          Outcome = "NOT_FOUND"
	UseRevoked           Outcome = "REVOKED"
	UseExpired           Outcome = "EXPIRED"
	UseDisabled          Outcome = "DISABLED"
	UseInsufficientScope Outcome = "INSUFFICIENT_SCOPE"
	UseIPNotAllowed      Outcome = "IP_NOT_ALLOWED"
	UseRateLimited       Outcome = "RATE_LIMITED"
	UseRequirementUnmet  Outcome = "REQUIREMENT_UNMET"
	UseWrongOrganization Outcome = "WRONG_ORGANIZATION"
	UseOrgSuspended      Outcome = "ORG_SUSPENDED"
	UsePlanForbids       Outcome = "PLAN_FORBIDS"
	UseQuotaExceeded     Outcome = "QUOTA_EXCEEDED"
)

// Outcomes are all outcomes. A new one comes last: stored rows count uses by the index here.
var Outcomes = [...]Outcome{UseValid, UseNotFound, UseRevoked, UseExpired, UseDisabled, UseInsufficientScope, UseIPNotAllowed, UseRateLimited,
	UseRequirementUnmet, UseWrongOrganization, UseOrgSuspended, UsePlanForbids, UseQuotaExceeded}
