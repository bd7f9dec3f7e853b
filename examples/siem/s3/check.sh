#!/usr/bin/env bash
# A real server of S3's protocol, the Versity S3 Gateway over a folder, and a real client, rclone.
source ../siem.sh
need zstd zstd
need rclone rclone
unset AWS_CA_BUNDLE # of who runs this: rclone would fail on it
certificates
GOBIN=$work go install github.com/versity/versitygw/cmd/versitygw@v1.8.0
port=$(free_port)
mkdir -p "$work/buckets/trail" # a folder there is a bucket
openssl rand -hex 20 > "$work/s3.secret"
place rclone.conf
ROOT_ACCESS_KEY_ID=example ROOT_SECRET_ACCESS_KEY=$(cat "$work/s3.secret") "$work/versitygw" --port "127.0.0.1:$port" --cert "$work/server.pem" --key "$work/server.key" \
  posix "$work/buckets" > "$work/versitygw.log" 2>&1 &
start_keytrail
create_sink
revoked_key_was_used sh "$work/query.sh"
