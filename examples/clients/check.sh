#!/usr/bin/env bash
# The OpenAPI document passes two linters, and the clients that three generators make of it
# compile and work against the service.
set -euo pipefail
command -v npm > /dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends nodejs npm; }

work=$(mktemp -d)
trap 'kill $(jobs -p) 2> /dev/null || true; wait; rm -rf "$work"' EXIT

go build -o "$work/keytrail" ../../cmd/keytrail
"$work/keytrail" serve --data "$work/data" --listen 127.0.0.1:0 2> "$work/log" &
for _ in $(seq 200); do grep -q 'ready on' "$work/log" && break; sleep 0.05; done
KEYTRAIL_URL=$(sed -n 's|.*ready on \(http://[0-9.:]*\).*|\1|p' "$work/log")
KEYTRAIL_KEY=$(cat "$work/data/root.key")
export KEYTRAIL_URL KEYTRAIL_KEY

bin=node_modules/.bin
rm -rf generated && mkdir generated
curl -fsS "$KEYTRAIL_URL/openapi.json" > generated/openapi.json
npm ci --ignore-scripts --silent
"$bin"/spectral lint generated/openapi.json --ruleset .spectral.yaml --fail-severity=hint
"$bin"/redocly lint generated/openapi.json --config redocly.yaml

"$bin"/openapi-typescript generated/openapi.json -o generated/types.ts
"$bin"/openapi-ts -i ./generated/openapi.json -o generated/hey --silent
"$bin"/tsc --project .
node generated/js/fetch.js
node generated/js/hey.js

cp -r go "$work/go" && mkdir "$work/go/keytrail"
go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2 -config oapi-codegen.yaml -o "$work/go/keytrail/client.go" generated/openapi.json
(cd "$work/go" && go run .)
echo "clients: all as it should be"
