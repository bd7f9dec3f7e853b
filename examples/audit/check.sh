#!/usr/bin/env bash
# Has the verifier in Python look at what keytrail audit verify looks at: bundles that are falsified
# in every way that the tests know, and what a service exports. Both must say the same.
set -euo pipefail
cd "$(dirname "$0")"

python3 -c 'import cryptography' 2> /dev/null || { apt-get update -qq && apt-get install -y -qq python3-cryptography; }
command -v curl > /dev/null || apt-get install -y -qq curl
test "$(wc -l < verify.py)" -le 200

dir=$(mktemp -d)
trap 'kill $(jobs -p) 2> /dev/null || true; wait; rm -rf "$dir"' EXIT

(cd ../.. && go test -count=1 ./audit/evidence -run TestTheFirstWrongPositionIsNamed -bundles.write "$dir" > /dev/null)
mapfile -t keys < "$dir/keys"
tried=0
for bundle in "$dir"/*.bundle; do
  want=$(< "${bundle%.bundle}.want")
  said=$(python3 verify.py "$bundle" "${keys[@]}" 2>&1) || true
  case $said in
    "$want"*) tried=$((tried + 1)) ;;
    *) echo "${bundle##*/}: $said; want $want"; exit 1 ;;
  esac
done
echo "$tried bundles: both verifiers say the same"

(cd ../.. && go build -o "$dir/keytrail" ./cmd/keytrail)
"$dir/keytrail" serve --data "$dir/data" --listen 127.0.0.1:18083 2> "$dir/log" & serve=$!
export KEYTRAIL_URL=http://127.0.0.1:18083 KEYTRAIL_KEY_FILE=$dir/data/root.key
until "$dir/keytrail" health > /dev/null 2>&1; do kill -0 "$serve" || { cat "$dir/log"; exit 1; }; sleep 0.2; done
org=$("$dir/keytrail" orgs create Acme --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])')
for name in one two three; do "$dir/keytrail" keys create --org "$org" --name "$name" > /dev/null; done
api() { curl -sSf --retry 10 --retry-all-errors -H "X-API-Key: $(< "$KEYTRAIL_KEY_FILE")" "$KEYTRAIL_URL$1"; }
until [ "$(api /v1/trail/events/checkpoint | sed -n 2p)" -ge 4 ]; do sleep 0.2; done
mapfile -t keys < <(api /v1/trail/vkey)
"$dir/keytrail" audit export --out "$dir/all.ndjson" > /dev/null
"$dir/keytrail" audit export --org "$org" --out "$dir/own.ndjson" > /dev/null
api /v1/events/3/proof > "$dir/event.json"
api /v1/events/1.0/proof > "$dir/use.json"
sed 's/"name":"two"/"name":"tvo"/' "$dir/all.ndjson" > "$dir/false.ndjson"
sed 's/"position":3/"position":4/' "$dir/event.json" > "$dir/false.json"
vkeys=()
for k in "${keys[@]}"; do vkeys+=(--vkey "$k"); done
for file in all.ndjson own.ndjson event.json use.json; do
  "$dir/keytrail" audit verify "$dir/$file" "${vkeys[@]}" > /dev/null
  python3 verify.py "$dir/$file" "${keys[@]}"
done
for file in false.ndjson false.json; do
  if "$dir/keytrail" audit verify "$dir/$file" "${vkeys[@]}" > /dev/null 2>&1 || python3 verify.py "$dir/$file" "${keys[@]}" 2> /dev/null; then
    echo "$file is taken"
    exit 1
  fi
done
echo "what a service exports: both verifiers say the same"
