#!/usr/bin/env bash
# A real rsyslog with this configuration.
source ../siem.sh
[ -n "$(find /usr/lib -name lmnsd_gtls.so)" ] || { apt-get update -qq && apt-get install -y -qq --no-install-recommends rsyslog rsyslog-gnutls; }
certificates
port=$(free_port)
mkdir "$work/spool"
sed "s|/var/spool/rsyslog|$work/spool|; s|/etc/keytrail|$work|; s|/var/log|$work|; s|6514|$port|" rsyslog.conf > "$work/rsyslog.conf"
/usr/sbin/rsyslogd -n -f "$work/rsyslog.conf" -i "$work/rsyslog.pid" > "$work/rsyslog.log" 2>&1 &
start_keytrail
syslog_sink "$port"
revoked_key_was_used jq -c "$(sed -n 's/^jq .*'"'"'\(.*\)'"'"' .*rsyslog.*/\1/p' ../README.md)" "$work/keytrail.ndjson"
