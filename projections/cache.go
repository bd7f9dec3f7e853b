package projections

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"github.com/keytrail/keytrail/domain"
)

// A cache holds rows by digest, those of credentials or what follows from others, so that a
// verification need not ask Badger. Rows lie one after another in chunks without pointers, which cost the garbage collector
// nothing. When there is no room, the oldest chunk is used again.
//
// What is in it is what the latest snapshot says. Before that is published its number is
// given to the cache and the rows that changed are taken out; a row of an earlier snapshot,
// of a look-up that has taken long, is not put in any more.
type cache struct {
	snapshot atomic.Uint64 // the number of the latest
	shards   [cacheShards]cacheShard
}

// A cacheShard has the digests of one remainder.
type cacheShard struct {
	mu      sync.Mutex
	offsets map[uint64]uint32 // by the digest's beginning: the chunk of its entry and the offset there
	chunks  [][]byte          // of entries: digest, length of the row in four bytes, row
	last    int               // the chunk that entries are added to
	limit   int               // of chunks
}

const (
	cacheShards = 64
	chunkBits   = 15
	chunkSize   = 1 << chunkBits // its offsets take chunkBits, and the chunk's number the others
	entryHead   = len(domain.Digest{}) + 4
)

// newCache makes a cache whose entries take size bytes at most, but 2 MiB at least.
func newCache(size uint64) *cache {
	c := new(cache)
	for i := range c.shards {
		c.shards[i].limit = int(min(max(size/cacheShards/chunkSize, 1), 1<<(32-chunkBits)))
	}
	c.forgetAll(0)
	return c
}

// A digest is as good as random, so any part of it spreads digests evenly.
func (c *cache) shard(d *domain.Digest) *cacheShard { return &c.shards[d[len(d)-1]%cacheShards] }

func beginning(d []byte) uint64 { return binary.BigEndian.Uint64(d) }

// find gives a copy of the row of d.
func (c *cache) find(d *domain.Digest) (row string, found bool) {
	s := c.shard(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	at, known := s.offsets[beginning(d[:])]
	if !known {
		return "", false
	}
	entry := s.chunks[at>>chunkBits][at%chunkSize:]
	if domain.Digest(entry[:len(d)]) != *d {
		return "", false
	}
	return string(entry[entryHead:entryEnd(entry)]), true
}

func entryEnd(entry []byte) int {
	return entryHead + int(binary.BigEndian.Uint32(entry[entryHead-4:]))
}

// put adds the row of d as a snapshot has it, unless it is larger than a chunk. Nothing is
// added from a snapshot that is no longer current.
func (c *cache) put(snapshot uint64, d *domain.Digest, row []byte) (current bool) {
	s := c.shard(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	if snapshot != c.snapshot.Load() {
		return false
	}
	size := entryHead + len(row)
	if size > chunkSize {
		return true
	}
	s.makeRoom(size)
	chunk := &s.chunks[s.last]
	s.offsets[beginning(d[:])] = uint32(s.last<<chunkBits | len(*chunk))
	*chunk = binary.BigEndian.AppendUint32(append(*chunk, d[:]...), uint32(len(row)))
	*chunk = append(*chunk, row...)
	return true
}

// makeRoom sees to it that the last chunk has room for size bytes.
func (s *cacheShard) makeRoom(size int) {
	switch {
	case len(s.chunks) > 0 && len(s.chunks[s.last])+size <= chunkSize:
	case len(s.chunks) < s.limit:
		s.last = len(s.chunks)
		s.chunks = append(s.chunks, make([]byte, 0, chunkSize))
	default:
		s.last = (s.last + 1) % len(s.chunks)
		s.empty(s.last)
	}
}

// empty takes out all that is in a chunk. Its bytes are written over only after that.
func (s *cacheShard) empty(chunk int) {
	entries := s.chunks[chunk]
	for at := 0; at < len(entries); at += entryEnd(entries[at:]) {
		key := beginning(entries[at:])
		if its, known := s.offsets[key]; known && its == uint32(chunk<<chunkBits|at) {
			delete(s.offsets, key)
		}
	}
	s.chunks[chunk] = entries[:0]
}

// full tells that what is put in next soon takes the place of something else.
func (c *cache) full() bool {
	s := &c.shards[0]
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.chunks) == s.limit && len(s.chunks[s.last]) > chunkSize/4*3
}

// forget takes out what has changed in a new snapshot. Its number comes first: a row that is
// put in before it is taken out with the others, and one of an earlier snapshot not put in after.
func (c *cache) forget(snapshot uint64, changed []domain.Digest) {
	c.snapshot.Store(snapshot)
	for i := range changed {
		s := c.shard(&changed[i])
		s.mu.Lock()
		delete(s.offsets, beginning(changed[i][:]))
		s.mu.Unlock()
	}
}

func (c *cache) forgetAll(snapshot uint64) {
	c.snapshot.Store(snapshot)
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.offsets, s.chunks, s.last = map[uint64]uint32{}, nil, 0
		s.mu.Unlock()
	}
}

// outdated is what a table has changed of the rows in a cache since rows were published.
type outdated struct {
	cache *cache
	rows  []domain.Digest
	all   bool // none of the table's rows were published
}

func newOutdated(c *cache) outdated { return outdated{cache: c, all: true} }

func (o *outdated) add(d domain.Digest) {
	if !o.all {
		o.rows = append(o.rows, d)
	}
}

// publishing takes them out, before readers see the rows in a snapshot of that number.
func (o *outdated) publishing(number uint64) {
	if o.all {
		o.cache.forgetAll(number)
	} else {
		o.cache.forget(number, o.rows)
	}
	o.all, o.rows = false, o.rows[:0]
}
