"""NeRF beside PyTorch, in turn, in one run: the median of each and their ratio.

    python benches/peers.py MEASURE [--visage target/release/visage] [--rounds 5] [--threads 2] [--preload LIBRARY]

MEASURE is a folder with `bench.py WORKLOAD BACKEND THREADS`, which prints one JSON line with `median_s` and
`rss_peak_mib` for the workloads `nerf_train` (1024 rays, 64 + 128 samples, forward, backward, Adam) and `nerf_infer`.
Every measurement is a process of its own. With a library to be preloaded, each peer is measured with and without it: on
AMD, PyTorch's MKL uses AVX-512 only if it is told that the processor is Intel's. Only the Python standard library is needed here.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

WORK = {"nerf_infer": "rays", "nerf_train": "fit"}


def peer(measure, work, backend, threads, python, preload):
    environment = dict(os.environ, MIN_RUNS="2", BUDGET="1", **({"LD_PRELOAD": preload} if preload else {}))
    command = [python, "bench.py", work, backend, str(threads)]
    run = subprocess.run(command, cwd=measure, env=environment, capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stderr[-2000:])
    result = json.loads(run.stdout.strip().splitlines()[-1])
    return result["min_s"], result["rss_peak_mib"]


def ours(visage, work, threads):
    command = [visage, "bench", "graphs/nerf", WORK[work], "--fused", "--repeat", "3", "--json", "--threads", str(threads)]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stderr[-2000:])
    result = json.loads(run.stdout)["variants"][0]
    return result["fastest_seconds"], result["memory_bytes"] / 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measure")
    parser.add_argument("--visage", default="target/release/visage")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--backends", default="eager")
    parser.add_argument("--preload", type=os.path.abspath)
    parser.add_argument("--work", default="nerf_infer,nerf_train")
    parser.add_argument("--python", default=sys.executable)
    arguments = parser.parse_args()
    print("| work | peer | peer, s | visage, s | ratio | peer, MiB | visage, MiB |\n|---|---|---|---|---|---|---|")
    peers = [(backend, None) for backend in arguments.backends.split(",")]
    if arguments.preload:
        peers += [(backend, arguments.preload) for backend, _ in peers]
    for work in arguments.work.split(","):
        # In turn: what else the machine does meets all of them.
        rounds = []
        for _ in range(arguments.rounds):
            theirs = [peer(arguments.measure, work, b, arguments.threads, arguments.python, p) for b, p in peers]
            rounds.append((theirs, ours(arguments.visage, work, arguments.threads)))
        for at, (backend, preload) in enumerate(peers):
            middle = lambda pick: statistics.median(pick(theirs[at], own) for theirs, own in rounds)
            name = f"{backend}, {os.path.basename(preload)}" if preload else backend
            print(
                f"| {work} | {name} | {middle(lambda t, o: t[0]):.2f} | {middle(lambda t, o: o[0]):.2f} "
                f"| {middle(lambda t, o: o[0] / t[0]):.2f} | {middle(lambda t, o: t[1]):.0f} "
                f"| {middle(lambda t, o: o[1]):.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
