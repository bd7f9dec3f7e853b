#!/bin/sh
keytrail sinks create --name collector --type otlp --url https://127.0.0.1:4318 --format ecs --from beginning \
  --ca-file /etc/keytrail/ca.pem --client-certificate-file /etc/keytrail/client.pem --client-key-file /etc/keytrail/client.key "$@"
