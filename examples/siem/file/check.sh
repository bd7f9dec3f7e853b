#!/usr/bin/env bash
# A file of the installation's, read with jq.
source ../siem.sh
mkdir "$work/files"
start_keytrail --sink-files "$work/files"
sink=$(api /v1/sinks '{"name":"archive","type":"file","from":"beginning","settings":{"path":"keytrail.ndjson"}}' | jq -r .sink.id)
revoked_key_was_used jq -c "$(sed -n 's/^jq .*'"'"'\(.*\)'"'"' .*rsyslog.*/\1/p' ../README.md)" "$work/files/keytrail.ndjson"
