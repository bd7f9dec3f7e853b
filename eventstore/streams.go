package eventstore

import (
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	defaultUsesMaxAge = 400 * 24 * time.Hour

	// duplicateWindow is how long a stream knows the ids of messages: an append is repeated
	// for Deadline at most, and its last try may be on its way for as long again.
	duplicateWindow = 2 * time.Minute

	// maxMessage is the size of a message that every stream must take: an event with the
	// longest texts, or a message of uses, is under 128 KiB.
	maxMessage = 1 << 20
)

// The stream of heartbeats has no history: it keeps the last one of each process, for an hour in
// which an operator may want to see which processes there were.
const (
	heartbeatsName   = "KEYTRAIL_HEARTBEATS"
	heartbeatsRoot   = "keytrail.heartbeats."
	heartbeatsMaxAge = time.Hour
)

// configs are the streams as Open makes them: those of a Stream by its number, then those of the
// heartbeats, of the data keys, of the tiles, of the reactions, of the months and of the sinks. Each setting that NATS
// has a default for and that touches what is kept is written out.
func configs(o Options) []jetstream.StreamConfig {
	if o.UsesMaxAge == 0 {
		o.UsesMaxAge = defaultUsesMaxAge
	}
	if o.UsesMaxBytes == 0 {
		o.UsesMaxBytes = -1
	}
	forAll := func(c jetstream.StreamConfig) jetstream.StreamConfig { return keptAlike(o, c) }
	return append([]jetstream.StreamConfig{
		forAll(jetstream.StreamConfig{
			Name: Events.name(), Subjects: []string{Events.subjects()}, DenyDelete: true, DenyPurge: true,
			MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: -1, Discard: jetstream.DiscardNew, AllowAtomicPublish: true,
		}),
		forAll(jetstream.StreamConfig{
			Name: Uses.name(), Subjects: []string{Uses.subjects()}, DenyDelete: true,
			MaxMsgs: -1, MaxBytes: o.UsesMaxBytes, MaxMsgsPerSubject: -1, MaxAge: o.UsesMaxAge, Discard: jetstream.DiscardOld,
		}),
		forAll(jetstream.StreamConfig{
			Name: heartbeatsName, Subjects: []string{heartbeatsRoot + ">"},
			MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: 1, MaxAge: heartbeatsMaxAge, Discard: jetstream.DiscardOld,
		}),
		// One message a subject: a data key has no history. Nothing ends by itself, a full disk
		// refuses the new and not the old, and messages can be deleted, which is what it is for.
		forAll(jetstream.StreamConfig{
			Name: dataKeysName, Subjects: []string{dataKeysRoot + ">"},
			MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew,
		}),
		tilesConfig(o),
		reactionsConfig(o),
		monthsConfig(o),
	}, sinkConfigs(o)...)
}

// tilesConfig is that of the stream of tiles. One message a subject: a wider tile replaces a
// narrower one, and a checkpoint the one before. Nothing ends otherwise: nothing can be deleted
// or purged, and a full disk refuses the new and not the old.
func tilesConfig(o Options) jetstream.StreamConfig {
	return keptAlike(o, jetstream.StreamConfig{
		Name: tilesName, Subjects: []string{tilesRoot + ">"}, DenyDelete: true, DenyPurge: true,
		MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew,
	})
}

// keptAlike is c with what all streams have.
func keptAlike(o Options, c jetstream.StreamConfig) jetstream.StreamConfig {
	c.Storage, c.Retention, c.Replicas = jetstream.FileStorage, jetstream.LimitsPolicy, max(1, o.Replicas)
	c.MaxConsumers, c.MaxMsgSize, c.Duplicates = -1, -1, duplicateWindow
	return c
}

// check refuses a stream that could lose or rewrite what it holds, or mislead its readers. Its
// maximal age and size are left to open.
func check(have, want jetstream.StreamConfig) error {
	for _, fault := range faults(have, want) {
		if fault.is {
			return fmt.Errorf("the stream %s %s", have.Name, fault.text)
		}
	}
	return nil
}

// A fault is a setting that the ledger cannot do with, and what to set instead.
type fault struct {
	is   bool
	text string
}

func faults(have, want jetstream.StreamConfig) []fault {
	all := []fault{
		{have.Storage != jetstream.FileStorage, "keeps its messages in memory; set file storage"},
		{have.NoAck, "acknowledges nothing; take no_ack away"},
		{have.PersistMode == jetstream.AsyncPersistMode, "acknowledges before it writes; set the default persist mode"},
		{have.Retention != jetstream.LimitsPolicy, "discards what was read; set limits retention"},
		{have.Sealed, "is sealed; nothing can be appended"},
		{!slices.Equal(have.Subjects, want.Subjects), fmt.Sprintf("takes the subjects %q; set %q alone", have.Subjects, want.Subjects)},
		{have.MaxMsgSize > 0 && have.MaxMsgSize < maxMessage, "refuses long messages; set max_msg_size to -1"},
		{have.Mirror != nil || len(have.Sources) > 0, "is filled from other streams; take mirror and sources away"},
		{have.SubjectTransform != nil, "changes subjects; take subject_transform away"},
		{have.MaxConsumers > 0, "limits its consumers; set max_consumers to -1"},
	}
	if want.Name == heartbeatsName || want.Name == attemptsName {
		return all
	}
	kept := []fault{ // of streams that keep what they have
		{have.AllowMsgSchedules, "lets messages be scheduled, which allows roll-up; take allow_msg_schedules away"},
		{have.AllowRollup, "lets one message replace others; take allow_rollup_hdrs away"},
		{have.MaxMsgs > 0, "is limited by the number of its messages; set max_msgs to -1"},
		{want.MaxAge == 0 && have.MaxAge != 0, "drops what is old; set max_age to 0"},
		{want.MaxBytes <= 0 && want.MaxAge == 0 && have.MaxBytes > 0, "is limited by size; set max_bytes to -1"},
		{have.AllowMsgTTL || have.SubjectDeleteMarkerTTL != 0, "lets messages end themselves; take allow_msg_ttl away"},
		{have.AllowMsgCounter, "adds numbers up instead of keeping messages; take allow_msg_counter away"},
		{have.AllowDirect || have.MirrorDirect, "is read from any replica, which may lack what was acknowledged; take allow_direct and mirror_direct away"},
		{have.RePublish != nil, "copies its messages to other subjects; take republish away"},
	}
	if slices.Contains([]string{dataKeysName, monthsName, sinksName, deadLettersName}, want.Name) {
		return slices.Concat(all, kept, []fault{
			{have.DenyDelete, "keeps messages that are to be destroyed; take deny_delete away"},
			{have.DenyPurge && want.Name != dataKeysName, "cannot be purged of what does not count any more; take deny_purge away"},
			{have.MaxMsgsPerSubject != want.MaxMsgsPerSubject, fmt.Sprintf("keeps another number of messages of a subject; set max_msgs_per_subject to %d", want.MaxMsgsPerSubject)},
			{have.DiscardNewPerSubject != want.DiscardNewPerSubject, fmt.Sprintf("has discard_new_per_subject %t; set %t", have.DiscardNewPerSubject, want.DiscardNewPerSubject)},
			{have.Discard != want.Discard, fmt.Sprintf("has the discard policy %s; set %s", have.Discard, want.Discard)},
		})
	}
	undeletable := []fault{
		{!have.DenyDelete, "lets messages be deleted; set deny_delete"},
		{want.DenyPurge && !have.DenyPurge, "can be purged; set deny_purge"},
		{have.Discard != want.Discard, fmt.Sprintf("has the discard policy %s; set %s", have.Discard, want.Discard)},
		{have.Duplicates < duplicateWindow, fmt.Sprintf("forgets message ids before an append is repeated for the last time; set duplicate_window to %v", duplicateWindow)},
	}
	if want.Name == tilesName || want.Name == reactionsName {
		return slices.Concat(all, undeletable, kept, []fault{
			{have.MaxMsgsPerSubject != 1 || have.DiscardNewPerSubject, "does not keep the last message of each subject alone; set max_msgs_per_subject to 1"},
		})
	}
	return slices.Concat(all, undeletable, []fault{
		{have.MaxMsgsPerSubject > 0 || have.DiscardNewPerSubject, "is limited by subject; set max_msgs_per_subject to -1"},
		{want.AllowAtomicPublish && !have.AllowAtomicPublish, "takes no atomic batches; set allow_atomic"},
	}, kept)
}
