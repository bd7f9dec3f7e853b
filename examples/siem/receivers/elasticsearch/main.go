// Command elasticsearch is NOT Elasticsearch: it is a stand-in, written from the documentation of the
// bulk API, for want of a package of the real one. It takes documents by POST /INDEX/_bulk with the
// action create, and finds them by POST /INDEX/_search with a bool of match filters. An API key is
// checked, a second create of an id is a conflict (409).
//
//	elasticsearch LISTEN CERTIFICATE KEY API_KEY
package main

import (
	"bufio"
	"encoding/json"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

type object = map[string]any

// An index has the documents by their ids.
type index struct {
	mu        sync.Mutex
	documents map[string]object
}

// create is the status of a document.
func (x *index) create(id string, document object) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, exists := x.documents[id]; exists {
		return http.StatusConflict
	}
	if document["@timestamp"] == nil { // as a data stream
		return http.StatusBadRequest
	}
	x.documents[id] = document
	return http.StatusCreated
}

func (x *index) bulk(w http.ResponseWriter, r *http.Request) {
	lines := bufio.NewScanner(http.MaxBytesReader(w, r.Body, 100<<20))
	lines.Buffer(nil, 1<<20)
	items, failed := []object{}, false
	for lines.Scan() {
		var action struct {
			Create *struct {
				ID string `json:"_id"`
			}
		}
		var document object
		if json.Unmarshal(lines.Bytes(), &action) != nil || action.Create == nil || !lines.Scan() || json.Unmarshal(lines.Bytes(), &document) != nil {
			answer(w, http.StatusBadRequest, object{"error": object{"type": "illegal_argument_exception"}, "status": http.StatusBadRequest})
			return
		}
		status := x.create(action.Create.ID, document)
		item := object{"_id": action.Create.ID, "status": status}
		if status != http.StatusCreated {
			failed = true
			item["error"] = object{"type": map[int]string{http.StatusConflict: "version_conflict_engine_exception", http.StatusBadRequest: "document_parsing_exception"}[status]}
		}
		items = append(items, object{"create": item})
	}
	answer(w, http.StatusOK, object{"errors": failed, "items": items})
}

func (x *index) search(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Query struct {
			Bool struct {
				Filter []struct{ Match map[string]string }
			}
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		answer(w, http.StatusBadRequest, object{"error": object{"type": "parsing_exception"}})
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	hits := []object{}
next:
	for id, document := range x.documents {
		for _, filter := range q.Query.Bool.Filter {
			for path, want := range filter.Match {
				if field(document, path) != want {
					continue next
				}
			}
		}
		hits = append(hits, object{"_id": id, "_source": document})
	}
	answer(w, http.StatusOK, object{"hits": object{"hits": hits}})
}

// field is a document's field by its path, with dots.
func field(v any, path string) any {
	for _, name := range strings.Split(path, ".") {
		o, _ := v.(object)
		v = o[name]
	}
	return v
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func main() {
	if len(os.Args) != 5 {
		log.Fatal("usage: elasticsearch LISTEN CERTIFICATE KEY API_KEY")
	}
	x := &index{documents: map[string]object{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{index}/_bulk", x.bulk)
	mux.HandleFunc("POST /{index}/_search", x.search)
	authorized := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "ApiKey "+os.Args[4] {
			answer(w, http.StatusUnauthorized, object{"error": object{"type": "security_exception"}})
			return
		}
		mux.ServeHTTP(w, r)
	})
	server := http.Server{Addr: os.Args[1], Handler: authorized, ReadTimeout: 30 * time.Second}
	log.Fatal(server.ListenAndServeTLS(os.Args[2], os.Args[3]))
}
