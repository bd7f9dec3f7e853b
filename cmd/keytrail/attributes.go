package main

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// attributeChanges are what NAME=VALUE arguments and --remove say of attributes.
type attributeChanges struct{ remove *[]string }

func attributeFlags(f *pflag.FlagSet) attributeChanges {
	return attributeChanges{f.StringSlice("remove", nil, "attribute to take away; may be repeated")}
}

// body has a null for what is to go.
func (a attributeChanges) body(args []string) (map[string]*string, error) {
	body := map[string]*string{}
	for _, name := range *a.remove {
		body[name] = nil
	}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not like NAME=VALUE", arg)
		}
		body[name] = &value
	}
	if len(body) == 0 {
		return nil, fmt.Errorf("give some attributes as NAME=VALUE, or --remove NAME")
	}
	return body, nil
}
