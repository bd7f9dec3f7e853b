#!/usr/bin/env bash
# A stand-in for Elasticsearch and OpenSearch: no package of them can be installed here.
source ../siem.sh
certificates
receiver elasticsearch
port=$(free_port)
openssl rand -hex 20 > "$work/elasticsearch.key"
"$work/elasticsearch" "127.0.0.1:$port" "$work/server.pem" "$work/server.key" "$(cat "$work/elasticsearch.key")" > "$work/elasticsearch.log" 2>&1 &
start_keytrail
create_sink
revoked_key_was_used sh "$work/query.sh"
