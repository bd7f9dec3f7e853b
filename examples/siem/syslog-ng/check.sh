#!/usr/bin/env bash
# A real syslog-ng with this configuration.
source ../siem.sh
need syslog-ng syslog-ng-core # Debian removes rsyslog for it
certificates
port=$(free_port)
sed "s|/etc/keytrail|$work|g; s|/var/log|$work|; s|6514|$port|" syslog-ng.conf > "$work/syslog-ng.conf"
syslog-ng -F --no-caps -f "$work/syslog-ng.conf" -R "$work/persist" -p "$work/pid" -c "$work/control" > "$work/syslog-ng.log" 2>&1 &
start_keytrail
syslog_sink "$port"
revoked_key_was_used jq -c "$(sed -n 's/^jq .*'"'"'\(.*\)'"'"' .*rsyslog.*/\1/p' ../README.md)" "$work/keytrail.ndjson"
