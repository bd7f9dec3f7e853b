#!/usr/bin/env bash
# Verifies a key on an external NATS server and reads the use back by hand.
set -euo pipefail
cd "$(dirname "$0")"

{ command -v jq && command -v zstd && command -v curl; } > /dev/null || { apt-get update -qq && apt-get install -y -qq jq zstd curl; }
work=$(mktemp -d)
go build -o "$work/nats-server" github.com/nats-io/nats-server/v2
go build -o "$work/keytrail" ../../cmd/keytrail

"$work/nats-server" --jetstream --store_dir "$work/nats" --addr 127.0.0.1 --port -1 --ports_file_dir "$work" 2> "$work/nats.log" & nats=$!
trap 'kill "$nats" "${service:-}" 2> /dev/null || true; wait; rm -rf "$work"' EXIT

# await repeats a command until it succeeds, a minute at most.
await() {
  for _ in $(seq 600); do "$@" > /dev/null 2>&1 && return; sleep 0.1; done
  cat "$work"/*.log >&2
  return 1
}
ports() { cat "$work"/nats-server_*.ports; }
await ports
port=$(ports | jq -r '.nats[0]' | sed 's/.*://')

"$work/keytrail" serve --data "$work/data" --listen 127.0.0.1:0 --nats-url "nats://127.0.0.1:$port" --node kt-1 2> "$work/keytrail.log" & service=$!
url() { grep -o 'http://127.0.0.1:[0-9]*' "$work/keytrail.log" | head -n 1; }
await grep -q 'http://127.0.0.1' "$work/keytrail.log"
KEYTRAIL_URL=$(url) KEYTRAIL_KEY=$(cat "$work/data/root.key")
export KEYTRAIL_URL KEYTRAIL_KEY
await curl -fsS "$KEYTRAIL_URL/readyz"

org=$("$work/keytrail" orgs create acme --json | jq -r .id)
secret=$("$work/keytrail" keys create --org "$org" --name ci --json | jq -r .secret)
curl -fsS "$KEYTRAIL_URL/v1/verify" -H "Authorization: Bearer $KEYTRAIL_KEY" -d "{\"key\":\"$secret\"}" | jq -e .valid > /dev/null

for sequence in 1 2 3 4 5 6 7 8; do ./uses.sh 127.0.0.1 "$port" "$sequence" >> "$work/uses" 2>> "$work/uses.log" || break; done
jq -se --arg org "$org" 'any(.node == "kt-1") and any(.org == $org and .kind == "key" and .code == "VALID")' "$work/uses" > /dev/null \
  || { cat "$work/uses" "$work/uses.log" >&2; exit 1; }
echo "ledger: a use is read by hand"
