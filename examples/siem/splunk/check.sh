#!/usr/bin/env bash
# A stand-in for Splunk's HTTP Event Collector: no package of Splunk can be installed here.
source ../siem.sh
certificates
receiver splunk
port=$(free_port)
openssl rand -hex 20 > "$work/splunk.token"
"$work/splunk" "127.0.0.1:$port" "$work/server.pem" "$work/server.key" "$(cat "$work/splunk.token")" > "$work/keytrail.ndjson" 2> "$work/splunk.log" &
start_keytrail
create_sink
revoked_key_was_used sh "$work/query.sh"
