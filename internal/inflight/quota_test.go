package inflight

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
)

func TestCountsAreExactAndLeaveNothingBehind(t *testing.T) {
	c := New[string]()
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for range 1000 {
				k := fmt.Sprint("k", i%8)
				if n := c.Enter(k); n < 1 || n > 8 {
					t.Errorf("%s holds %d", k, n)
				}
				c.Leave(k)
			}
		})
	}
	wg.Wait()
	for i := range c.shards {
		if n := len(c.shards[i].held); n != 0 {
			t.Errorf("shard %d keeps %d holders", i, n)
		}
	}
}

func TestAHostIsOneHolder(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true}, {"192.0.2.1", "192.0.2.2", false}, {"192.0.2.1", "::ffff:192.0.2.1", true},
		{"2001:db8::1", "2001:db8::ffff:1", true}, {"2001:db8::1", "2001:db8:0:1::1", false}, {"fe80::1%eth0", "fe80::1", true},
	} {
		if same := Holder(netip.MustParseAddr(c.a)) == Holder(netip.MustParseAddr(c.b)); same != c.same {
			t.Errorf("%s and %s: %v", c.a, c.b, same)
		}
	}
}

func BenchmarkEnterAndLeave(b *testing.B) {
	for _, holders := range []int{1, 10_000} {
		b.Run(fmt.Sprint(holders), func(b *testing.B) {
			c := New[netip.Addr]()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					ip := netip.AddrFrom4([4]byte{10, byte(i % holders >> 16), byte(i % holders >> 8), byte(i % holders)})
					c.Enter(ip)
					c.Leave(ip)
				}
			})
		})
	}
}
