#!/bin/sh
# The signing secret is in the answer, this once: it goes into the receiver's webhook.secret.
keytrail sinks create --name webhook --type webhook --url https://127.0.0.1:8443 --format cloudevents --from beginning \
  --ca-file /etc/keytrail/ca.pem "$@"
