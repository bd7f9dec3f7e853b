package commands

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"reflect"
	"strings"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A SinkIndex counts the sinks of an organization, and all. The read model does.
type SinkIndex interface {
	SinkCounts(domain.OrgID) domain.SinkCounts
}

// A SinkResult is a sink after a command. Position is its revision.
type SinkResult struct {
	Sink     domain.Sink
	Position eventstore.Position
	Secret   domain.Secret // to sign with; only where one was made, and only the first time
	Replayed bool
	Changed  bool
}

// onSink carries out a command on a sink.
func (h *Handler) onSink(ctx context.Context, org domain.OrgID, id domain.SinkID, r Request, decide func(domain.Sink) (domain.Event, error)) (SinkResult, error) {
	r.Fingerprint = h.keyedFingerprint(r.Fingerprint)
	o, err := executeOnce(ctx, h, eventstore.SinkRef(org, id), r, nil, decide)
	return SinkResult{Sink: o.state, Position: o.position, Replayed: o.replayed, Changed: o.changed}, err
}

// keyedFingerprint is a request's, of which no reader of the ledger can tell the request: guesses
// at a password in it could be tried otherwise.
func (h *Handler) keyedFingerprint(fingerprint string) string {
	if fingerprint == "" {
		return ""
	}
	mac := hmac.New(sha256.New, h.sinkKey[:])
	mac.Write([]byte("keytrail sink request 1 " + fingerprint))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// sinkContext is the additional data of a sink's sealed credentials. Ids have no spaces.
func sinkContext(org domain.OrgID, id domain.SinkID) []byte {
	return []byte("keytrail sink credentials 1 " + string(org) + " " + string(id))
}

func (h *Handler) sealCredentials(org domain.OrgID, id domain.SinkID, c *domain.SinkCredentials) ([]byte, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	return h.sinkKey.Seal(text, sinkContext(org, id)), nil
}

// OpenCredentials are those of a sink; domain.ErrSinkSealed if another keyring has sealed them.
func (h *Handler) OpenCredentials(s *domain.Sink) (c domain.SinkCredentials, err error) {
	text, err := h.sinkKey.Open(s.Sealed, sinkContext(s.Org, s.ID))
	if err != nil {
		return c, domain.ErrSinkSealed
	}
	return c, json.Unmarshal(text, &c)
}

// withSigningSecret puts the secret into the result of a command if it is the sink's newest. It is
// not if an earlier or quicker request with the same Idempotency-Key made another one.
func (h *Handler) withSigningSecret(r SinkResult, s domain.SigningSecret) (SinkResult, error) {
	c, err := h.OpenCredentials(&r.Sink)
	if err != nil {
		return r, err
	}
	if len(c.Signing) > 0 && bytes.Equal(c.Signing[0].Secret, s.Secret) {
		r.Secret = s.Text()
	} else {
		r.Replayed = true
	}
	return r, nil
}

// givenCredentials are credentials where a request has them.
type givenCredentials struct {
	Settings *domain.SinkCredentials `json:"settings"`
}

// checkSink holds a sink to its bounds, and to what its type can have.
func (h *Handler) checkSink(d *domain.SinkDefinition, c *domain.SinkCredentials) error {
	if err := valid(d); err != nil {
		return err
	}
	if err := valid(givenCredentials{c}); err != nil {
		return err
	}
	if err := d.Check(c); err != nil {
		return err
	}
	for _, host := range d.Hosts() {
		if objection := h.sinkHost(host); objection != "" {
			return domain.InvalidField("url", "its host is %s, which sinks do not reach unless --sink-networks of the service has it", objection)
		}
	}
	return nil
}

// mergeSettings puts the members of a JSON object into the settings and credentials of a sink, and
// returns their names. null takes one away; what is not named stays.
func mergeSettings(patch json.RawMessage, s *domain.SinkSettings, c *domain.SinkCredentials) (names []string, err error) {
	if len(patch) == 0 {
		return nil, nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(patch, &members); err != nil {
		return nil, domain.InvalidField("settings", "must be an object")
	}
	for name, value := range members {
		field, ok := memberOf(name, reflect.ValueOf(s).Elem(), reflect.ValueOf(c).Elem())
		if !ok {
			return nil, domain.InvalidField("settings", "has a member that no type of sink has")
		}
		field.SetZero()
		if err := json.Unmarshal(value, field.Addr().Interface()); err != nil {
			return nil, domain.InvalidField("settings."+name, "has the wrong type")
		}
		names = append(names, name)
	}
	return names, nil
}

// memberOf finds a field by its name in JSON. No caller gives signing secrets.
func memberOf(name string, structs ...reflect.Value) (reflect.Value, bool) {
	for _, s := range structs {
		for _, f := range reflect.VisibleFields(s.Type()) {
			if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag == name && f.Type != reflect.TypeFor[[]domain.SigningSecret]() {
				return s.FieldByIndex(f.Index), true
			}
		}
	}
	return reflect.Value{}, false
}
