package domain

import (
	"maps"
	"slices"
)

// Plans are all plans of an installation as of one moment, by name. They never change, so that many
// can read them at once.
type Plans map[string]*Plan

// Named finds a plan; ErrPlanNotFound.
func (all Plans) Named(name string) (*Plan, error) {
	if p := all[name]; p != nil {
		return p, nil
	}
	return nil, ErrPlanNotFound
}

// Names are the names of all plans, sorted.
func (all Plans) Names() []string { return slices.Sorted(maps.Keys(all)) }
