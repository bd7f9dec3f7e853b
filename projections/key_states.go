package projections

import (
	"encoding/binary"
	"unsafe"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A keyState is what a load keeps of a key.
type keyState struct {
	introduced []byte // the position at which the key got each of its secrets, in eight bytes
	row        []byte
}

// text is the row, which must not change while the text is in use: when all events are in.
func (s keyState) text() string { return unsafe.String(unsafe.SliceData(s.row), len(s.row)) }

// introducedAfter is when the key got each of the secrets that it has after an event, of which
// there are n: a new one comes first, and of those before the oldest may have gone.
func (s keyState) introducedAfter(n int, record *eventstore.Record) []byte {
	switch record.Event.(type) {
	case domain.KeyCreated, domain.KeyRotated:
		all := append(number(uint64(record.Position)), s.introduced...)
		return all[:8*n]
	}
	return s.introduced
}

// keyStates are the states of all keys, one after another in chunks without pointers. Each entry
// is an id, the size of its slot and of what is in it, in four bytes each, and the state: the
// number of secrets in one byte, when they were introduced, the row. A state that outgrows its
// slot gets a larger one, and the old slot is left empty.
type keyStates struct {
	places map[[idSize]byte]uint64 // the number of the chunk, and the offset there
	chunks [][]byte
	number int // of the keys
}

const (
	stateChunkBits = 20
	stateHead      = idSize + 4 + 4
)

func newKeyStates() keyStates { return keyStates{places: map[[idSize]byte]uint64{}} }

func (k *keyStates) entry(place uint64) []byte {
	return k.chunks[place>>stateChunkBits][place&(1<<stateChunkBits-1):]
}

func sizes(entry []byte) (slot, used int) {
	return int(binary.BigEndian.Uint32(entry[idSize:])), int(binary.BigEndian.Uint32(entry[idSize+4:]))
}

// at gives the state in an entry. It is valid until the key's next put.
func (k *keyStates) at(place uint64) (id [idSize]byte, s keyState) {
	entry := k.entry(place)
	_, used := sizes(entry)
	state := entry[stateHead : stateHead+used]
	n := 1 + 8*int(state[0])
	return [idSize]byte(entry), keyState{introduced: state[1:n], row: state[n:]}
}

func (k *keyStates) find(id [idSize]byte) (s keyState, known bool) {
	place, known := k.places[id]
	if known {
		_, s = k.at(place)
	}
	return s, known
}

func (k *keyStates) put(id [idSize]byte, s keyState) {
	size := 1 + len(s.introduced) + len(s.row)
	place, known := k.places[id]
	slot := size // most keys have one event
	if !known {
		k.number++
	} else {
		entry := k.entry(place)
		if slot, _ = sizes(entry); size > slot {
			binary.BigEndian.PutUint32(entry[idSize+4:], 0)
			known, slot = false, size+size/2
		}
	}
	if !known {
		place = k.newSlot(id, slot)
	}
	entry := k.entry(place)
	binary.BigEndian.PutUint32(entry[idSize+4:], uint32(size))
	state := append(entry[stateHead:stateHead], byte(len(s.introduced)/8))
	_ = append(append(state, s.introduced...), s.row...)
}

// newSlot gives the key a slot, in the last chunk or, if that has no room, in another.
func (k *keyStates) newSlot(id [idSize]byte, slot int) (place uint64) {
	last := len(k.chunks) - 1
	if last < 0 || len(k.chunks[last])+stateHead+slot > cap(k.chunks[last]) {
		k.chunks = append(k.chunks, make([]byte, 0, max(1<<stateChunkBits, stateHead+slot)))
		last++
	}
	chunk := k.chunks[last]
	place = uint64(last)<<stateChunkBits | uint64(len(chunk))
	chunk = binary.BigEndian.AppendUint32(append(chunk, id[:]...), uint32(slot))
	k.chunks[last] = chunk[:len(chunk)+4+slot]
	k.places[id] = place
	return place
}

// each gives every key to f.
func (k *keyStates) each(f func(place uint64, id [idSize]byte, s keyState)) {
	for n, chunk := range k.chunks {
		for at := 0; at < len(chunk); {
			place := uint64(n)<<stateChunkBits | uint64(at)
			slot, used := sizes(chunk[at:])
			if used > 0 {
				id, s := k.at(place)
				f(place, id, s)
			}
			at += stateHead + slot
		}
	}
}
