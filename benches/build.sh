#!/bin/sh
# Building an image of 50,000 files beside mke2fs -d, plain tar and untarring onto the kernel's ext4, all in RAM.
#
# usage: benches/build.sh [ROUNDS]      (needs python3, tar, mke2fs; as root also losetup for the kernel's row)
#
# Prints wall clock and processor time (user + system) per round: on a machine that does other things as well only
# the latter, and ratios within one round, mean anything. E4 names the command (default target/release/e4).
set -eu
rounds=${1:-5}
e4=$(realpath "${E4:-target/release/e4}")
dir=$(mktemp -d /dev/shm/e4-bench-build.XXXXXX)
trap 'umount "$dir/mnt" 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"

# 20 x 25 directories of 100 files, log-normal sizes, the same every time: about 530 MB.
python3 - <<'END'
import os, random
random.seed(7)
blob = random.randbytes(1 << 20)
for d in range(500):
    p = f"src/d{d//25:02}/s{d%25:02}"
    os.makedirs(p)
    for f in range(100):
        n = min(int(random.lognormvariate(8.0, 1.6)), 1 << 20)
        at = random.randrange(0, (1 << 20) - n + 1)
        with open(f"{p}/file{f:03}", "wb") as out:
            out.write(blob[at:at + n])
END
tar cf tree.tar src

row() {
    name=$1; shift
    python3 - "$name" "$@" <<'END'
import os, resource, subprocess, sys, time
start = time.monotonic()
subprocess.run(sys.argv[2:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
wall = time.monotonic() - start
use = resource.getrusage(resource.RUSAGE_CHILDREN)
print(f"{sys.argv[1]:<28} {wall:7.2f} s wall  {use.ru_utime + use.ru_stime:7.2f} s cpu  "
      f"{use.ru_maxrss // 1024:6} MiB", flush=True)
END
}

for round in $(seq "$rounds"); do
    echo "round $round, load $(cut -d' ' -f1 /proc/loadavg)"
    rm -f out.img out.tar
    row "e4 build" "$e4" build -q -o out.img src
    rm -f out.img
    row "e4 build, 1 thread" "$e4" build -q -j 1 -o out.img src
    rm -f out.img
    row "e4 build, from tar" "$e4" build -q -o out.img tree.tar
    rm -f out.img
    row "tar cf" tar cf out.tar src
    rm -f out.tar
    truncate -s 800M out.img
    row "mke2fs -d" mke2fs -q -t ext4 -b 4096 -d src out.img
    rm -f out.img
    truncate -s 900M out.img
    mke2fs -q -t ext4 -b 4096 -E lazy_itable_init=0 out.img
    mkdir -p mnt
    if mount -o loop out.img mnt 2>/dev/null; then
        row "untar onto kernel ext4" sh -c 'tar xf tree.tar -C mnt && umount mnt'
        umount mnt 2>/dev/null || true
    fi
    rm -f out.img
done
