#!/bin/sh
# What must hold after any power cut. Runs in a directory with the files of one outcome.
said() { printf '%s\n' "$E4_CRASH_SAID" | grep -qx "$1"; }
holds() { grep -qx "balance=$2" "$1" 2>/dev/null; }

if said ready && ! holds data 100 && ! holds data 250; then
    echo "the data is neither old nor new"
    exit 1
fi
if holds data 250 && ! holds wal 250; then
    echo "the data is ahead of its log: it could not be undone"
    exit 1
fi
if said committed && ! holds wal 250; then
    echo "a committed balance is not in the log"
    exit 1
fi
