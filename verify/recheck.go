package verify

// Recheck is StillMay for a caller whose request was read or carried out meanwhile. It costs
// nothing if the read model has not moved since, as is mostly so.
func (v *Verifier) Recheck(c *Caller) error {
	if v.store.Version() == c.version {
		return nil
	}
	return v.StillMay(c.request)
}

// StillMay authenticates a caller again during a long request: it gives nil, or the refusal
// that the key or session would get now. It records no use and counts against no rate limit: the
// request is the one that was recorded when it began.
func (v *Verifier) StillMay(r AuthRequest) error {
	a := answers.Get().(*Answer)
	defer answers.Put(a)
	own := r.verification()
	found, err := v.lookUp(&own, a)
	if err != nil {
		return err
	}
	if found {
		key := a.Credential.Credential
		key.RateLimits = nil
		a.Outcome = key.Decide(own.use(a))
	}
	_, err = v.caller(r, a, nil)
	return err
}
