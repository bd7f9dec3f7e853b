#!/bin/sh
# The keys that were used after they had been revoked.
jq -r 'select(.type == "key.used" and .data.data.code == "REVOKED") | .data.data.key_id' /var/log/keytrail.ndjson
