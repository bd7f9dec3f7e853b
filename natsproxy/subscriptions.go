package natsproxy

import "sync"

// subscriptions are those that a client has on the server, by their names, with what is left of
// them: the server ends one by itself after a number of messages that the client may have said.
type subscriptions struct {
	mu   sync.Mutex
	open map[string]subscription
}

type subscription struct{ delivered, max int }

// begin adds one, and tells whether the client may have so many.
func (s *subscriptions) begin(sid string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, again := s.open[sid]; !again {
		s.open[sid] = subscription{}
	}
	return len(s.open) <= maxSubscriptions
}

// end ends one after max messages since it began, or now.
func (s *subscriptions) end(sid string, max int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one, ok := s.open[sid]; ok {
		one.max = max
		s.keep(sid, one)
	}
}

// deliver counts a message.
func (s *subscriptions) deliver(sid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one, ok := s.open[sid]; ok && one.delivered < 1<<31 {
		one.delivered++
		if one.max > 0 {
			s.keep(sid, one)
			return
		}
		s.open[sid] = one
	}
}

func (s *subscriptions) keep(sid string, one subscription) {
	if one.delivered >= one.max {
		delete(s.open, sid)
		return
	}
	s.open[sid] = one
}
