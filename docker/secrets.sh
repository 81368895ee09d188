#!/bin/sh
# Makes the secrets of docker/compose.yaml in docker/secrets/, once: random passwords, readable by you alone.
set -eu
umask 077
cd "$(dirname "$0")"
mkdir -p secrets
for name in source community; do
    [ -s "secrets/${name}_password" ] || od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > "secrets/${name}_password"
done
{
    printf 'source:5432:clinic:clinic:%s\n' "$(cat secrets/source_password)"
    printf 'community:5432:clinic:clinic:%s\n' "$(cat secrets/community_password)"
} > secrets/pgpass
# Inside the container dbsync runs as you, so that it can read its secret; for root as the image's own user.
uid=$(id -u) gid=$(id -g)
if [ "$uid" = 0 ]; then
    uid=10001 gid=10001
    chown "$uid:$gid" secrets/pgpass
fi
printf 'DBSYNC_UID=%s\nDBSYNC_GID=%s\n' "$uid" "$gid" > .env
