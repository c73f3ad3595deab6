#!/bin/sh
# `e4 put` of a 4 KiB file into a 4 GiB image beside `debugfs -w`, in RAM, alternating, and what each asks of the disk.
#
# usage: benches/surgery.sh [ROUNDS]      (needs python3, mke2fs, debugfs; strace for the counts)
#
# Medians of wall clock and processor time over the rounds, each a process of its own: opening, putting, closing. debugfs bypasses
# the journal and flushes nothing; e4 returns when the file is durable. E4 names the command (default target/release/e4).
set -eu
rounds=${1:-101}
e4=$(realpath "${E4:-target/release/e4}")
dir=$(mktemp -d /dev/shm/e4-bench-surgery.XXXXXX)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
head -c 4096 /dev/urandom > file
for name in e4 debugfs; do
    truncate -s 4G "$name.img"
    mke2fs -q -F -t ext4 "$name.img"
done
python3 - "$e4" "$rounds" <<'END'
import os, resource, statistics, subprocess, sys, time
e4, rounds = sys.argv[1], int(sys.argv[2])
def debugfs(*lines):
    return ["debugfs", "-w", "-f", "-", "debugfs.img"], "\n".join(lines) + "\n"
rows = {
    "e4 put, a new file":           lambda n: ([e4, "-q", "put", "file", f"e4.img:/new{n}"], ""),
    "debugfs write, a new file":    lambda n: debugfs(f"write file new{n}"),
    "e4 put, over a file":          lambda n: ([e4, "-q", "put", "file", "e4.img:/over"], ""),
    "debugfs rm, write, over one":  lambda n: debugfs("rm over", "write file over"),
    "e4 --version (a process)":     lambda n: ([e4, "--version"], ""),
}
wall, cpu = {k: [] for k in rows}, {k: [] for k in rows}
for n in range(rounds):
    for name, make in rows.items():
        argv, text = make(n)
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        subprocess.run(argv, input=text.encode(), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall[name].append(time.monotonic() - start)
        cpu[name].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
for name in rows:
    print(f"{name:<30} {statistics.median(wall[name])*1e3:7.2f} ms wall  {statistics.median(cpu[name])*1e3:7.2f} ms cpu"
          f"   (fastest {min(wall[name])*1e3:.2f} ms)")
END
e2fsck -fn e4.img > /dev/null && echo "e2fsck -fn e4.img: clean"
if command -v strace > /dev/null; then
    strace -f -c -e trace=pread64,pwrite64,preadv,pwritev,fsync,fdatasync,sync_file_range -o counts \
        "$e4" -q put file e4.img:/counted
    echo "system calls of one e4 put:"; cat counts
fi
