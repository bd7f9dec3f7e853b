#!/bin/sh
keytrail sinks create --name s3 --type s3 --url https://127.0.0.1:7070 --format cloudevents --from beginning \
  --set bucket=trail --set prefix=keytrail --set region=us-east-1 --set access_key_id=example \
  --secret-access-key-file /etc/keytrail/s3.secret --ca-file /etc/keytrail/ca.pem "$@"
