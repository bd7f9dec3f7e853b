#!/usr/bin/env bash
# Receivers with the reference libraries of Standard Webhooks, for Go and for Node: each event is
# kept once, though all are delivered twice.
source ../siem.sh
need npm nodejs npm
certificates
receiver webhook
cp -r node "$work" && (cd "$work/node" && npm ci --ignore-scripts --silent)
start_keytrail

# try COMMAND…: a receiver, which begins after the sink has: the first deliveries fail.
try() {
  local pid kept
  port=$(free_port)
  create_sink
  jq -r .signing_secret "$work/created.json" > "$work/webhook.secret"
  "$@" "127.0.0.1:$port" "$work/server.pem" "$work/server.key" "$work/webhook.secret" > "$work/keytrail.ndjson" 2> "$work/receiver.log" & pid=$!
  revoked_key_was_used sh "$work/query.sh"
  api "/v1/sinks/$sink/replay" '{"from":"beginning"}' > /dev/null
  kept() { jq -e 'select(.type == "sink.replay_ended" and .data.data.delivered > 5)' "$work/keytrail.ndjson"; }
  wait_for kept
  [ -z "$(jq -c '[.data.source, .data.id]' "$work/keytrail.ndjson" | sort | uniq -d)" ] || fail "an event is kept twice"
  kill "$pid"
}
try "$work/webhook"
try node "$work/node/receiver.js"
