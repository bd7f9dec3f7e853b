#!/bin/sh
# The keys that were used after they had been revoked.
jq -rs 'unique_by(.fields.id)[] | select(.index == "keytrail") | .event
  | select(.class_uid == 3002 and .status_code == "REVOKED") | .user.programmatic_credentials[0].uid' /var/log/keytrail.ndjson
