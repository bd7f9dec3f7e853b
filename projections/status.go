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

// Status tells how far each projection is behind what is known of the ledger, without
// asking the ledger.
func (s *Store) Status() (all []ProjectionStatus) {
	for _, e := range s.engines {
		end := s.ledger.Load().LastEnd(e.stream)
		now := e.published.Load()
		for i, t := range now.tables {
			p := e.projections[i]
			st := ProjectionStatus{Name: p.name, Stream: e.stream.String(), Version: p.version, Position: t.position, Rebuild: s.rebuilds.status(p.name)}
			if end > st.Position {
				st.Lag = uint64(end - st.Position)
			}
			if now.halted {
				st.Halted = "an event cannot be applied; the log has the cause"
			}
			all = append(all, st)
		}
	}
	return all
}
