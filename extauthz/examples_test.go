package extauthz_test

import (
	"encoding/json"
	"os"
	"testing"

	bootstrap "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	filter "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"
	"google.golang.org/protobuf/types/known/anypb"
)

// Envoy would take the examples, of which each field is known and within its bounds, and asks
// as the code here expects.
func TestTheExamplesAreEnvoysConfiguration(t *testing.T) {
	for file, grpc := range map[string]bool{"envoy.yaml": true, "envoy-http.yaml": false} {
		var found []proto.Message
		validate(t, read(t, "../examples/gateways/envoy/"+file), &found)
		settings := map[string]string{}
		for _, m := range found {
			switch m := m.(type) {
			case *filter.ExtAuthz:
				if m.GetFailureModeAllow() || m.GetClearRouteCache() || (m.GetGrpcService() != nil) != grpc || grpc != m.GetEncodeRawHeaders() {
					t.Errorf("%s: %v", file, m)
				}
			case *filter.ExtAuthzPerRoute:
				settings = m.GetCheckSettings().GetContextExtensions()
			}
		}
		if grpc && (settings["keyspace"] == "" || settings["scope"] == "") || len(found) < 4 {
			t.Errorf("%s: %v, and %d messages in it", file, settings, len(found))
		}
	}
}

func read(t *testing.T, file string) *bootstrap.Bootstrap {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := yaml.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	text, err = json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	config := new(bootstrap.Bootstrap)
	if err := protojson.Unmarshal(text, config); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return config
}

// validate holds a message to Envoy's rules, and those that are packed into it, which it finds.
func validate(t *testing.T, m proto.Message, found *[]proto.Message) {
	t.Helper()
	if err := m.(interface{ ValidateAll() error }).ValidateAll(); err != nil {
		t.Errorf("%s: %v", m.ProtoReflect().Descriptor().FullName(), err)
	}
	err := protorange.Range(m.ProtoReflect(), func(v protopath.Values) error {
		packed, ok := v.Index(-1).Value.Interface().(interface{ Interface() proto.Message })
		if !ok {
			return nil
		}
		box, ok := packed.Interface().(*anypb.Any)
		if !ok {
			return nil
		}
		inner, err := box.UnmarshalNew()
		if err != nil {
			return err
		}
		*found = append(*found, inner)
		validate(t, inner, found)
		return protorange.Break
	})
	if err != nil {
		t.Error(err)
	}
}
