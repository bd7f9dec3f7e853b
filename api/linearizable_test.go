package api_test

import (
	"encoding/json"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// oneKey is one key as a machine: a state, and what each request answers in it.
var oneKey = porcupine.Model{
	Init: func() any { return "active" },
	Step: func(state, request, answer any) (bool, any) {
		outcome := map[any]string{"active": "VALID", "disabled": "DISABLED", "revoked": "REVOKED"}[state]
		next := map[any]string{"disable": "disabled", "enable": "active", "revoke": "revoked"}[request]
		switch {
		case request == "verify":
			return answer == outcome, state
		case state == "revoked" && request != "revoke":
			return answer == "key_revoked", state
		}
		return answer == next, next
	},
}

// TestAKeyIsLinearizable lets many clients change and verify one key at the same time. Their
// answers must be those of a key that does one thing after the other, each at some moment
// between its request and its answer: once a revocation is acknowledged, nothing is VALID.
func TestAKeyIsLinearizable(t *testing.T) {
	s := start(t)
	id, secret := s.create(s.root, `{"org_id":"`+s.org("acme")+`","name":"contended"}`)
	begun := time.Now()
	var mu sync.Mutex
	var history []porcupine.Operation
	var clients sync.WaitGroup
	for client := range 8 {
		clients.Go(func() {
			for i := range 40 {
				request := []string{"verify", "verify", "verify", "disable", "enable"}[rand.IntN(5)]
				if client == 0 && i == 35 {
					request = "revoke"
				}
				op := porcupine.Operation{ClientId: client, Input: request, Call: time.Since(begun).Nanoseconds()}
				op.Output = s.outcome(request, id, secret)
				op.Return = time.Since(begun).Nanoseconds()
				mu.Lock()
				history = append(history, op)
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	if result := porcupine.CheckOperationsTimeout(oneKey, history, 30*time.Second); result != porcupine.Ok {
		t.Errorf("the history is %s: %v", result, history)
	}
}

// outcome makes a request and gives the word that tells its answer: a verification's code,
// the key's status, or the code of a refusal.
func (s *service) outcome(request, id, secret string) string {
	path, body := "/v1/keys/"+id+"/"+request, ""
	if request == "verify" {
		path, body = "/v1/verify", `{"key":"`+secret+`"}`
	}
	_, _, text := s.do(s.root, "POST", path, body)
	var answer struct{ Code, Status any }
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return text
	}
	if code, ok := answer.Code.(string); ok {
		return code
	}
	status, _ := answer.Status.(string)
	return status
}
