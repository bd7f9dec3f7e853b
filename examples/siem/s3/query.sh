#!/bin/sh
# The keys that were used after they had been revoked. The objects of one day: trail/keytrail/2026/11/20.
RCLONE_S3_SECRET_ACCESS_KEY=$(cat /etc/keytrail/s3.secret) rclone --config /etc/keytrail/rclone.conf --ca-cert /etc/keytrail/ca.pem cat siem:trail/keytrail \
  | zstd -dc | jq -rs 'unique_by(.source, .id)[] | select(.type == "key.used" and .data.code == "REVOKED") | .data.key_id'
