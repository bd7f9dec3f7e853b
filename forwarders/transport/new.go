package transport

import (
	"fmt"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/forwarders/outbound"
)

// A Receiver is what a Sender delivers to: a sink, with its credentials opened.
type Receiver struct {
	Sink domain.SinkID
	Org  domain.OrgID // that the sink belongs to
	domain.SinkDefinition
	Credentials domain.SinkCredentials
}

// An Environment is what the senders of a process have in common.
type Environment struct {
	Origin   string          // 8 hexadecimal digits that tell this ledger from others, also in the ids of events
	Version  string          // of the program
	Outbound outbound.Policy // says which addresses may be dialled
	Files    string          // the directory of files; "": there are none
	Streams  Streams
}

// New makes the Sender of a receiver. It connects to nothing: what is wrong with a receiver that
// can be reached only, Send says.
func New(r Receiver, e Environment) (Sender, error) {
	make, ok := constructors[r.Type]
	if !ok {
		return nil, fmt.Errorf("there are no sinks of the type %q", r.Type)
	}
	return make(r, e)
}

// constructors makes senders, by type.
var constructors = map[domain.SinkType]func(Receiver, Environment) (Sender, error){
	domain.SinkElasticsearch: newElasticsearch,
	domain.SinkFile:          newFile,
	domain.SinkKafka:         newKafka,
	domain.SinkNATS:          newNATS,
	domain.SinkOTLP:          newOTLP,
	domain.SinkS3:            newS3,
	domain.SinkSplunkHEC:     newSplunkHEC,
	domain.SinkStream:        newStream,
	domain.SinkSyslog:        newSyslog,
	domain.SinkWebhook:       newWebhook,
}
