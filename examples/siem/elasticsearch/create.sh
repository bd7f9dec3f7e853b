#!/bin/sh
keytrail sinks create --name elasticsearch --type elasticsearch --url https://127.0.0.1:9200 --format ecs --from beginning \
  --set index=logs-keytrail-default --token-file /etc/keytrail/elasticsearch.key --ca-file /etc/keytrail/ca.pem "$@"
