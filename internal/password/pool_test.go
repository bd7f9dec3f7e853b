package password

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// cost is what a hash takes in these tests, whose clock stands still while it is made.
const cost = 25 * time.Millisecond

func testPool() *Pool {
	p := NewPool()
	p.work = func(f func()) time.Duration { f(); <-time.After(cost); return cost }
	return p
}

func address(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{192, byte(i >> 16), byte(i >> 8), byte(i)})
}

func count(n *int, mu *sync.Mutex) func() {
	return func() { mu.Lock(); *n++; mu.Unlock() }
}

// TestAFloodTakesItsShare however many passwords are sent, from however many addresses.
func TestAFloodTakesItsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, hashed, mu := testPool(), 0, sync.Mutex{}
		ctx, stop := context.WithCancel(t.Context())
		var flood sync.WaitGroup
		for i := range 300 {
			flood.Go(func() {
				for ctx.Err() == nil {
					if p.do(ctx, Client{Address: address(i)}, 1, count(&hashed, &mu)) != nil {
						<-time.After(100 * time.Millisecond)
					}
				}
			})
		}
		const minute = time.Minute
		<-time.After(minute)
		mu.Lock()
		took := time.Duration(hashed) * cost
		mu.Unlock()
		if part := took.Seconds() / (minute.Seconds() * float64(runtime.GOMAXPROCS(0))); part > 0.15 || part < 0.11 {
			t.Errorf("hashing took %.3f of the processor", part)
		}
		p.mu.Lock()
		if n := p.queues[Strangers].length; n > maxWaiting {
			t.Errorf("%d wait", n)
		}
		p.mu.Unlock()
		stop()
		flood.Wait()
		if p.free != max(1, runtime.GOMAXPROCS(0)/4) || len(p.queues[Strangers].waiting)+len(p.queues[Strangers].order)+p.queues[Strangers].length != 0 {
			t.Errorf("it keeps %+v, %d free", p.queues, p.free)
		}
	})
}

func TestALoneLogInIsImmediate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testPool()
		for range 5 {
			begun := time.Now()
			if err := p.do(t.Context(), Client{}, 1, func() {}); err != nil || time.Since(begun) != cost {
				t.Errorf("it took %v: %v", time.Since(begun), err)
			}
			<-time.After(time.Second)
		}
	})
}

// TestAddressesTakeTurns: what one address sends keeps another's one password waiting for a turn
// or two, and those who are known do not wait for the others at all.
func TestAddressesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, mu := testPool(), sync.Mutex{}
		p.balance = 0
		var order []string
		var all sync.WaitGroup
		send := func(name string, c Client) {
			all.Go(func() {
				if err := p.do(t.Context(), c, 1, func() { mu.Lock(); order = append(order, name); mu.Unlock() }); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
			synctest.Wait()
		}
		for range 4 {
			send("flood", Client{Address: address(1)})
			send("flood6", Client{Address: netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", len(p.queues[0].waiting[netip.MustParseAddr("2001:db8::")])))})
		}
		send("guest", Client{Address: address(2)})
		send("owner", Client{Class: Known, Address: address(1)})
		all.Wait()
		if got := fmt.Sprint(order); got != "[flood owner flood6 guest flood flood6 flood flood6 flood flood6]" {
			t.Error(got)
		}
	})
}

// TestAFullQueueTakesAnotherAddress in the place of the newest of the one that has most.
func TestAFullQueueTakesAnotherAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testPool()
		p.balance = -time.Hour
		ctx, stop := context.WithCancel(t.Context())
		refused := make(chan netip.Addr, 1000)
		var all sync.WaitGroup
		send := func(c Client) {
			all.Go(func() {
				if errors.Is(p.do(ctx, c, 1, func() {}), ErrBusy) {
					refused <- c.Address
				}
			})
			synctest.Wait()
		}
		for i := range maxWaiting/maxWaitingPerAddress + 1 {
			for range maxWaitingPerAddress {
				send(Client{Address: address(i)})
			}
		}
		for len(refused) > 0 {
			<-refused
		}
		send(Client{Address: address(5000)})
		if a := <-refused; a == address(5000) {
			t.Error("an address that has none waiting is refused")
		}
		if p.queues[Strangers].length != maxWaiting {
			t.Errorf("%d wait", p.queues[Strangers].length)
		}
		send(Client{Class: Known, Address: address(0)})
		if len(refused) != 0 || p.queues[Known].length != 1 {
			t.Error("one who is known finds no place because strangers wait")
		}
		stop()
		all.Wait()
	})
}

func TestAWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testPool()
		p.balance = -time.Hour
		begun := time.Now()
		if err := p.do(t.Context(), Client{}, 1, func() { t.Error("it is done") }); !errors.Is(err, ErrBusy) || time.Since(begun) != maxWait {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun = time.Now()
		if err := p.do(ctx, Client{}, 1, func() { t.Error("it is done") }); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Second {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		if p.queues[Strangers].length != 0 {
			t.Error("those who left are in the queue")
		}
	})
}
