#!/bin/sh
# The keys that were used after they had been revoked.
curl -fsS --cacert /etc/keytrail/ca.pem -H "Authorization: ApiKey $(cat /etc/keytrail/elasticsearch.key)" -H 'Content-Type: application/json' \
  -d @query.json https://127.0.0.1:9200/logs-keytrail-default/_search | jq -r '.hits.hits[]._source.keytrail.subject'
