#!/bin/sh
# Makes what docker/tiers/compose.yaml needs of its own in docker/tiers/state/, once: random passwords, an authority with the
# certificates of the two servers, and folders for the keys. Readable by you alone.
set -eu
umask 077
cd "$(dirname "$0")"
mkdir -p state/secrets state/tls state/codes state/field state/community state/central state/relay
for name in field community central; do
    [ -s "state/secrets/${name}_password" ] || od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > "state/secrets/${name}_password"
done
for name in field community central; do
    printf '%s-db:5432:clinic:clinic:%s\n' "$name" "$(cat "state/secrets/${name}_password")"
done > state/secrets/pgpass

new_key="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -config tls.cnf"
cd state/tls
cp ../../tls.cnf .
if [ ! -s ca.crt ]; then
    # shellcheck disable=SC2086  # words, not one word
    SERVER=none openssl req -x509 $new_key -days 3650 -subj "/CN=dbsync tiers" -extensions authority -keyout ca.key -out ca.crt 2> /dev/null
fi
for name in community central; do
    [ ! -s "$name.crt" ] || continue
    # shellcheck disable=SC2086
    SERVER=$name openssl req -new $new_key -subj "/CN=$name" -keyout "$name.key" -out "$name.csr" 2> /dev/null
    SERVER=$name openssl x509 -req -in "$name.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 825 \
        -extfile tls.cnf -extensions server -out "$name.crt" 2> /dev/null
done
cd ../..

# Inside the containers dbsync runs as you, so that it can read its secrets; for root as the image's own user.
uid=$(id -u) gid=$(id -g)
if [ "$uid" = 0 ]; then
    uid=10001 gid=10001
    chown -R "$uid:$gid" state/tls state/codes state/field state/community state/central state/relay state/secrets/pgpass
    chmod 711 state state/secrets
fi
printf 'DBSYNC_UID=%s\nDBSYNC_GID=%s\n' "$uid" "$gid" > .env
