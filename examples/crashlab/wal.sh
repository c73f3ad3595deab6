#!/bin/sh
# An account with a write-ahead log, as a program: the new balance is logged, then written in place. Each line it prints
# is something its user may rely on. `wal.sh careless` does not make the log durable before the data changes.
set -e
echo balance=100 > data
: > wal
sync data wal .
echo ready

echo balance=250 >> wal
[ "$1" = careless ] || sync wal
echo balance=250 | dd of=data conv=notrunc status=none
sync data
sync wal
echo committed
