package eventstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// A Sync is how a NATS server brings messages to disk.
type Sync struct {
	Server   string
	Always   bool          // before it acknowledges them
	Interval time.Duration // else
}

// monitoring asks the address itself: it heeds no proxy, and follows no redirect.
var monitoring = &http.Client{Transport: &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// AskSync asks a NATS server's monitoring, like http://localhost:8222, how it syncs.
func AskSync(ctx context.Context, url string) (Sync, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/varz", nil)
	if err != nil {
		return Sync{}, errors.New("it is no address like http://localhost:8222") // the error's own text repeats it, with a password
	}
	answer, err := monitoring.Do(request)
	if err != nil {
		return Sync{}, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return Sync{}, fmt.Errorf("it answers %s", answer.Status)
	}
	var v struct {
		Name      string `json:"server_name"`
		JetStream struct {
			Config *struct {
				Always   bool          `json:"sync_always"`
				Interval time.Duration `json:"sync_interval"`
			} `json:"config"`
		} `json:"jetstream"`
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, 1<<20)).Decode(&v); err != nil {
		return Sync{}, err
	}
	if v.JetStream.Config == nil {
		return Sync{}, fmt.Errorf("the server %s has no JetStream", v.Name)
	}
	return Sync{v.Name, v.JetStream.Config.Always, v.JetStream.Config.Interval}, nil
}
