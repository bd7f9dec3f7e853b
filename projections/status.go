package projections

import "github.com/keytrail/keytrail/eventstore"

// A ProjectionStatus is how far one projection is.
type ProjectionStatus struct {
	Name     string              `json:"name"`
	Stream   string              `json:"stream"`
	Version  int                 `json:"version"`
	Position eventstore.Position `json:"position"`
	Lag      uint64              `json:"lag" doc:"Messages of the ledger not yet applied."`
	Halted   string              `json:"halted,omitempty" doc:"Why it stopped."`
	Rebuild  *RebuildStatus      `json:"rebuild,omitempty" doc:"The latest rebuild since the service started."`
}

// Status tells how far each projection is behind what is known of the ledger. It asks nobody.
func (s *Store) Status() (all []ProjectionStatus) {
	for _, g := range s.groups {
		end := s.ledger.Load().LastEnd(g.stream)
		g.mu.Lock()
		for _, r := range g.runners {
			st := ProjectionStatus{Name: r.name, Stream: g.stream.String(), Version: r.version, Position: r.checkpoint.Position, Rebuild: s.rebuilds.status(r.name)}
			if end > st.Position {
				st.Lag = uint64(end - st.Position)
			}
			if g.halted != nil {
				st.Halted = "an event cannot be applied; the log has the cause"
			}
			all = append(all, st)
		}
		g.mu.Unlock()
	}
	return all
}
