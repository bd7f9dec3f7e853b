package eventstore

import "testing"

// A type without a bit of its own would be kept from subscriptions to it.
func TestEveryTypeHasABit(t *testing.T) {
	var all uint64
	for name, bit := range typeBit {
		if bit == 0 || all&bit != 0 {
			t.Errorf("%s has the bit %b", name, bit)
		}
		all |= bit
	}
}
