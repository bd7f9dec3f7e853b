#!/bin/sh
keytrail sinks create --name splunk --type splunk_hec --url https://127.0.0.1:8088 --format ocsf --from beginning \
  --set index=keytrail --set acknowledge=true --token-file /etc/keytrail/splunk.token --ca-file /etc/keytrail/ca.pem "$@"
