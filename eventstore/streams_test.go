package eventstore_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// TestStreamsThatLoseOrMisleadAreRefused lets a real server make a stream that differs from
// ours in one setting. Some settings change others: what the refusal names is what counts.
func TestStreamsThatLoseOrMisleadAreRefused(t *testing.T) {
	const events, uses, dataKeys, tiles, reactions, months, sinks, deadLetters = "KEYTRAIL_EVENTS", "KEYTRAIL_USES", "KEYTRAIL_DATA_KEYS", "KEYTRAIL_TILES", "KEYTRAIL_REACTIONS", "KEYTRAIL_MONTHS", "KEYTRAIL_SINKS", "KEYTRAIL_DEAD_LETTERS"
	s := eventstoretest.Server(t)
	eventstoretest.Open(t, s)
	js := eventstoretest.JetStream(t, s)
	for _, c := range []struct {
		stream string
		change func(*jetstream.StreamConfig)
		said   string
	}{
		{events, func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, "file storage"},
		{uses, func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, "file storage"},
		{events, func(c *jetstream.StreamConfig) { c.NoAck = true }, "no_ack"},
		{uses, func(c *jetstream.StreamConfig) { c.NoAck = true }, "no_ack"},
		{uses, func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode }, "persist mode"},
		{events, func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy }, "limits retention"},
		{uses, func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }, "limits retention"},
		{events, func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "orders.>") }, "orders"},
		{uses, func(c *jetstream.StreamConfig) { c.Subjects = []string{"keytrail.uses.>"} }, "keytrail.uses"},
		{events, func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 }, "max_msg_size"},
		{uses, func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 }, "max_msg_size"},
		{events, func(c *jetstream.StreamConfig) { c.Sources = []*jetstream.StreamSource{{Name: "OTHER"}} }, "sources"},
		{uses, func(c *jetstream.StreamConfig) {
			c.Subjects, c.Mirror = nil, &jetstream.StreamSource{Name: "OTHER"}
		}, "keytrail.uses"},
		{events, func(c *jetstream.StreamConfig) {
			c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: "keytrail.events.>", Destination: "elsewhere.>"}
		}, "subject_transform"},
		{events, func(c *jetstream.StreamConfig) { c.MaxConsumers = 1 }, "max_consumers"},
		{events, func(c *jetstream.StreamConfig) { c.DenyDelete = false }, "deny_delete"},
		{uses, func(c *jetstream.StreamConfig) { c.DenyDelete = false }, "deny_delete"},
		{events, func(c *jetstream.StreamConfig) { c.DenyPurge = false }, "deny_purge"},
		{events, func(c *jetstream.StreamConfig) { c.DenyPurge, c.AllowRollup = false, true }, "deny_purge"},
		{uses, func(c *jetstream.StreamConfig) { c.AllowRollup = true }, "allow_rollup_hdrs"},
		{events, func(c *jetstream.StreamConfig) { c.MaxMsgs = 1 << 40 }, "max_msgs"},
		{uses, func(c *jetstream.StreamConfig) { c.MaxMsgs = 1 << 40 }, "max_msgs"},
		{events, func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 }, "max_msgs_per_subject"},
		{uses, func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 }, "max_msgs_per_subject"},
		{events, func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, "max_age"},
		{events, func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 30 }, "max_bytes"},
		{events, func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }, "discard"},
		{uses, func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardNew }, "discard"},
		{events, func(c *jetstream.StreamConfig) { c.Duplicates = time.Second }, "duplicate_window"},
		{uses, func(c *jetstream.StreamConfig) { c.Duplicates = time.Second }, "duplicate_window"},
		{events, func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true }, "allow_msg_ttl"},
		{uses, func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true }, "allow_msg_ttl"},
		{uses, func(c *jetstream.StreamConfig) { c.AllowMsgSchedules = true }, "allow_msg_schedules"},
		{uses, func(c *jetstream.StreamConfig) { c.AllowMsgCounter = true }, "allow_msg_counter"},
		{events, func(c *jetstream.StreamConfig) { c.AllowDirect = true }, "allow_direct"},
		{uses, func(c *jetstream.StreamConfig) { c.AllowDirect = true }, "allow_direct"},
		{events, func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false }, "allow_atomic"},
		{events, func(c *jetstream.StreamConfig) {
			c.RePublish = &jetstream.RePublish{Source: "keytrail.events.>", Destination: "copies.>"}
		}, "republish"},
		{dataKeys, func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, "file storage"},
		{dataKeys, func(c *jetstream.StreamConfig) { c.DenyDelete = true }, "deny_delete"},
		{dataKeys, func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 10 }, "max_msgs_per_subject"},
		{dataKeys, func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, "max_age"},
		{dataKeys, func(c *jetstream.StreamConfig) { c.MaxMsgs = 1 << 40 }, "max_msgs"},
		{dataKeys, func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }, "discard"},
		{dataKeys, func(c *jetstream.StreamConfig) { c.AllowDirect = true }, "allow_direct"},
		{dataKeys, func(c *jetstream.StreamConfig) {
			c.RePublish = &jetstream.RePublish{Source: "keytrail.data_keys.>", Destination: "copies.>"}
		}, "republish"},
		{tiles, func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, "file storage"},
		{tiles, func(c *jetstream.StreamConfig) { c.DenyDelete = false }, "deny_delete"},
		{tiles, func(c *jetstream.StreamConfig) { c.DenyPurge = false }, "deny_purge"},
		{tiles, func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = -1 }, "max_msgs_per_subject"},
		{tiles, func(c *jetstream.StreamConfig) { c.DiscardNewPerSubject = true }, "max_msgs_per_subject"},
		{tiles, func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, "max_age"},
		{tiles, func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 30 }, "max_bytes"},
		{tiles, func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }, "discard"},
		{tiles, func(c *jetstream.StreamConfig) { c.Duplicates = time.Second }, "duplicate_window"},
		{tiles, func(c *jetstream.StreamConfig) { c.AllowDirect = true }, "allow_direct"},
		{reactions, func(c *jetstream.StreamConfig) { c.DenyDelete = false }, "deny_delete"},
		{reactions, func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = -1 }, "max_msgs_per_subject"},
		{reactions, func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, "max_age"},
		{months, func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, "max_age"},
		{months, func(c *jetstream.StreamConfig) { c.DenyPurge = true }, "deny_purge"},
		{sinks, func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, "max_age"},
		{sinks, func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 10 }, "max_msgs_per_subject"},
		{sinks, func(c *jetstream.StreamConfig) { c.DenyPurge = true }, "deny_purge"},
		{sinks, func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }, "discard"},
		{deadLetters, func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, "max_age"},
		{deadLetters, func(c *jetstream.StreamConfig) { c.DiscardNewPerSubject = false }, "discard_new_per_subject"},
	} {
		t.Run(c.stream+" "+c.said, func(t *testing.T) {
			have, err := js.Stream(t.Context(), c.stream)
			if err != nil {
				t.Fatal(err)
			}
			ours := have.CachedInfo().Config
			theirs := ours
			c.change(&theirs)
			remake(t, js, theirs)
			if _, err := eventstore.Open(t.Context(), js.Conn(), eventstore.Options{}); err == nil || !strings.Contains(err.Error(), c.said) {
				t.Errorf("%v, want it refused for %s", err, c.said)
			}
			remake(t, js, ours)
			if _, err := eventstore.Open(t.Context(), js.Conn(), eventstore.Options{}); err != nil {
				t.Error("our own:", err)
			}
		})
	}
}

func remake(t *testing.T, js jetstream.JetStream, c jetstream.StreamConfig) {
	t.Helper()
	if err := js.DeleteStream(t.Context(), c.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// A sealed stream takes nothing more; only an existing one can be sealed.
func TestASealedStreamIsRefused(t *testing.T) {
	s := eventstoretest.Server(t)
	eventstoretest.Open(t, s)
	js := eventstoretest.JetStream(t, s)
	have, err := js.Stream(t.Context(), "KEYTRAIL_USES")
	if err != nil {
		t.Fatal(err)
	}
	c := have.CachedInfo().Config
	c.Sealed = true
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, err := eventstore.Open(t.Context(), js.Conn(), eventstore.Options{}); err == nil || !strings.Contains(err.Error(), "sealed") {
		t.Errorf("%v", err)
	}
}
