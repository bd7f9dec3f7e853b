package eventstore

import (
	"github.com/klauspost/compress/zstd"
)

// maxBody bounds what a message of uses may be when it is not compressed: one that
// was put on the stream by another program must not fill the memory.
const maxBody = 1 << 20

// encoder compresses at its fastest, for a microsecond a use: the next level takes twice as long
// and saves nothing. NATS has checksums of its own.
var encoder = must(zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false),
	zstd.WithSingleSegment(true), zstd.WithWindowSize(64<<10), zstd.WithLowerEncoderMem(true), zstd.WithEncoderConcurrency(2)))

var decoder = must(zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxBody), zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(0)))

func compress(body []byte) []byte {
	return encoder.EncodeAll(body, make([]byte, 0, len(body)/3))
}

// decompress appends to b.
func decompress(b, body []byte) ([]byte, error) { return decoder.DecodeAll(body, b) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // the options above are wrong
	}
	return v
}
