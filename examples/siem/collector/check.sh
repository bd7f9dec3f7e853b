#!/usr/bin/env bash
# A real OpenTelemetry Collector with this configuration.
source ../siem.sh
certificates
receiver collector
port=$(free_port)
place collector.yaml
"$work/collector" --config "$work/collector.yaml" > "$work/collector.log" 2>&1 &
start_keytrail
create_sink
revoked_key_was_used sh "$work/query.sh"
