#!/bin/sh
# The keys that were used after they had been revoked.
jq -r '.resourceLogs[].scopeLogs[].logRecords[] | .body.stringValue | fromjson
  | select(.event.action == "key.used" and .event.code == "REVOKED") | .keytrail.subject' /var/log/keytrail.ndjson
