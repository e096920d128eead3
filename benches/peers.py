"""What a user would run instead, beside visage: in turn, in one run, with the ratio of their medians.

    python benches/peers.py MEASURE [--work nerf,siren,…] [--backends eager,compile,ort,jax,hand] [--rounds 3]
        [--threads 2] [--preload LIBRARY] [--python PYTHON] [--json FILE]
    python benches/peers.py MEASURE --list

MEASURE is a folder with `bench.py WORKLOAD BACKEND THREADS`, which prints one JSON line with `median_s` and `rss_peak_mib`; it
serves NeRF (`nerf_infer`: 1024 rays, 64 + 128 samples; `nerf_train`: forward, backward, Adam), pi-GAN (`pigan_infer`: a
picture of 64 x 64, 24 + 24 samples; `pigan_train`: two pictures of 32 x 32, a step of the discriminator with R1 and one of the
generator), GRAM (`gram_infer`: a picture of 64 x 64), CodeFormer (`codeformer_infer`: a face of 512 x 512) and its autoencoder
(`vqgan_train`: a face of 128 x 128, Adam) with `eager`, `compile`, `ort` and `jax`, whose exported networks it wants to be
there, and `ort` and `jax` for attention and normalisation. Everything else, and `hand`, a NeRF and a SIREN trunk written by
somebody who knows the machine, is in `peers_work.py`.

Every measurement is a process of its own, and a round is one of each. With a library to be preloaded, PyTorch is measured with
and without it: on AMD, its MKL uses AVX-512 only if it is told that the processor is Intel's.

`grid` compares the matrix products of `grid.txt`: `cargo bench --bench limits -- grid`, PyTorch, and the crate `gemm` if
`benches/rivals` was built (`cargo build --release --manifest-path benches/rivals/Cargo.toml`).

Only the Python standard library is needed here; `--python` says which one has PyTorch, ONNX Runtime and JAX.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys

BENCHES = pathlib.Path(__file__).resolve().parent
ROOT = BENCHES.parent
SPECS = BENCHES / "specs"
RIVALS = BENCHES / "rivals/target/release/rivals"
# Those that MKL, and so the preloaded library, plays a part in.
PYTORCH = ("eager", "compile", "hand")


@dataclasses.dataclass
class Work:
    """One kind of work: what visage runs, and which peers can do the same."""

    name: str
    spec: str
    program: str  # or several, with commas, one after the other
    peer: str  # in peers_work.py
    own: tuple = ()  # backends of peers_work.py
    measure: str = ""  # in MEASURE
    measured: tuple = ()  # backends of MEASURE
    preset: str = ""
    settings: tuple = ()  # sizes and constants that are not the spec's

    def options(self):
        preset = ["--preset", self.preset] if self.preset else []
        return preset + [part for setting in self.settings for part in ("--set", setting)]


def all_work():
    """Every kind of work; convolutions for every preset of their spec."""
    spec = lambda name: str(SPECS / f"{name}.ron")
    work = [
        Work("nerf_infer", "graphs/nerf", "rays", "nerf_infer", ("hand",), "nerf_infer", ("eager", "compile", "ort", "jax")),
        Work("nerf_train", "graphs/nerf", "fit", "", (), "nerf_train", ("eager", "compile", "jax")),
        Work(
            "pigan_infer", "graphs/pigan", "random", "", (), "pigan_infer", ("eager", "compile", "ort", "jax"),
            settings=("image=1", "side=64", "samples=24"),
        ),
        Work(
            "pigan_train", "graphs/pigan", "step:discriminator,step:generator", "", (), "pigan_train", ("eager", "compile", "jax"),
            settings=("image=2", "side=32", "samples=24", "splits=1"),
        ),
        Work(
            "gram_infer", "graphs/gram", "random", "", (), "gram_infer", ("eager", "compile", "ort"),
            settings=("image=1", "side=64"),
        ),
        Work(
            "codeformer_infer", "graphs/codeformer", "restore", "", (), "codeformer_infer", ("eager", "compile", "ort"),
            settings=("image=1",),
        ),
        Work(
            "vqgan_train", "graphs/codeformer", "step:autoencoder", "", (), "vqgan_train", ("eager", "compile"),
            settings=("image=1", "side=128", "perceptual=false", "adversity=0"),
        ),
        Work("siren_trunk", spec("siren"), "trunk", "siren_trunk", ("eager", "compile", "hand")),
        Work("siren_fit", spec("siren"), "fit", "siren_fit", ("eager", "compile")),
    ]
    shapes = ("512-at-16", "512-at-32", "256-at-64", "128-at-128", "64-at-512", "32-at-512")
    forward = ("eager", "compile", "ort")
    programs = (("forward", forward), ("planes", forward), ("backward", ("eager",)), ("fit", ("eager", "compile")))
    for preset in (*shapes, "pointwise", "strided", "colours", "stem"):
        for program, own in programs:
            name = f"conv_{program} {preset}"
            work.append(Work(name, spec("convolution"), program, f"conv_{program}", own, preset=preset))
    for name, about, micro in (("attention", "attention", "micro_attn"), ("norm", "normalisation", "micro_gnsilu")):
        own = ("eager", "compile")
        work.append(Work(f"{name}_forward", spec(about), "forward", f"{name}_forward", own, micro, ("ort", "jax")))
        work.append(Work(f"{name}_both", spec(about), "both", f"{name}_both", own))
        work.append(Work(f"{name}_fit", spec(about), "fit", f"{name}_fit", own))
    return work


def run(command, **options):
    """The last line of what a process says, read as JSON."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if done.returncode:
        tell = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise RuntimeError(tell[-1] if tell else f"{command[0]} ended with {done.returncode}")
    return done.stdout


def last_line(text):
    return json.loads(text.strip().splitlines()[-1])


def sizes(arguments, work):
    """The sizes of a spec, as visage reads them."""
    command = [arguments.visage, "check", work.spec, "--json", *work.options()]
    return json.loads(run(command, cwd=ROOT))["sizes"]


def peer(arguments, work, backend, preload):
    """Seconds and MiB of a peer."""
    environment = dict(os.environ, **({"LD_PRELOAD": preload} if preload else {}))
    if backend in work.measured:
        environment.update(MIN_RUNS="3", BUDGET=str(arguments.budget))
        command = [arguments.python, "bench.py", work.measure, backend, arguments.threads]
        result = last_line(run(command, cwd=arguments.measure, env=environment))
    else:
        command = [arguments.python, BENCHES / "peers_work.py", work.peer, backend, arguments.threads]
        command += ["--measure", arguments.measure, "--budget", arguments.budget]
        command += ["--sizes", json.dumps(sizes(arguments, work))]
        result = last_line(run(command, env=environment))
    return result["median_s"], result["rss_peak_mib"]


def ours(arguments, work):
    """Seconds, MiB and floating-point operations of visage; of several programs the sum, and the most memory."""
    found = [program(arguments, work, name) for name in work.program.split(",")]
    seconds, memory, flops = zip(*found)
    return sum(seconds), max(memory), sum(flops)


def program(arguments, work, name):
    """Seconds, MiB and floating-point operations of a program of visage."""
    command = [arguments.visage, "bench", work.spec, name, "--fused", "--json", "--threads", arguments.threads]
    command += work.options()
    # As long as the peers run, three times at least.
    result = json.loads(run([*command, "--repeat", 3], cwd=ROOT))
    fastest = result["variants"][0]["fastest_seconds"]
    more = min(50, int(arguments.budget / fastest))
    if more > 3:
        result = json.loads(run([*command, "--repeat", more], cwd=ROOT))
    variant = result["variants"][0]
    return variant["median_seconds"], variant["memory_bytes"] / 2**20, result["contraction_flops"]


def attempt(name, measure):
    try:
        return measure()
    except (RuntimeError, json.JSONDecodeError) as error:
        print(f"{name}: {error}", file=sys.stderr, flush=True)
        return None


def middle(rounds, pick):
    values = [pick(*entry) for entry in rounds if all(part is not None for part in entry)]
    return statistics.median(values) if values else None


def shown(value, digits=3):
    return "" if value is None else f"{value:.{digits}g}" if value < 100 else f"{value:.0f}"


def compare(arguments, work, rows):
    """Measures one kind of work, in rounds, and prints a line a peer."""
    peers = [b for b in arguments.backends if b in work.own + work.measured]
    peers = [(backend, None) for backend in peers]
    if arguments.preload:
        peers += [(backend, arguments.preload) for backend, _ in peers if backend in PYTORCH]
    rounds = []
    for _ in range(arguments.rounds):
        theirs = [attempt(f"{work.name}, {b}", lambda: peer(arguments, work, b, p)) for b, p in peers]
        own = None if arguments.without_visage else attempt(f"{work.name}, visage", lambda: ours(arguments, work))
        rounds.append((theirs, own))
    own = [(own,) for _, own in rounds]
    seconds, memory, flops = (middle(own, lambda o, at=at: o[at]) for at in range(3))
    for at, (backend, preload) in enumerate(peers):
        pairs, alone = [(theirs[at], own) for theirs, own in rounds], [(theirs[at],) for theirs, _ in rounds]
        row = {
            "work": work.name,
            "peer": f"{backend}, {os.path.basename(preload)}" if preload else backend,
            "peer_seconds": middle(alone, lambda theirs: theirs[0]),
            "visage_seconds": seconds,
            "ratio": middle(pairs, lambda theirs, own: own[0] / theirs[0]),
            "peer_mib": middle(alone, lambda theirs: theirs[1]),
            "visage_mib": memory,
        }
        row["visage_gflops"] = flops / seconds / 1e9 if flops else None
        row["peer_gflops"] = flops / row["peer_seconds"] / 1e9 if flops and row["peer_seconds"] else None
        rows.append(row)
        columns = ("peer_seconds", "visage_seconds", "ratio", "peer_gflops", "visage_gflops", "peer_mib", "visage_mib")
        print(f"| {work.name} | {row['peer']} | " + " | ".join(shown(row[c]) for c in columns) + " |", flush=True)


def grid(arguments, rows):
    """Matrix products of `grid.txt`, in GFLOP/s: one process measures all of them, and rounds are interleaved."""
    products = lambda *command, **options: last_line(run(command, **options))["products"]
    torch = [arguments.python, BENCHES / "peers_work.py", "grid", "eager", arguments.threads, "--budget", arguments.budget]
    programs = {"PyTorch": lambda: products(*torch)}
    if arguments.preload:
        environment = dict(os.environ, LD_PRELOAD=arguments.preload)
        programs[f"PyTorch, {os.path.basename(arguments.preload)}"] = lambda: products(*torch, env=environment)
    if RIVALS.exists():
        programs["gemm"] = lambda: products(RIVALS, arguments.threads)
    if not arguments.without_visage:
        limits = ("cargo", "bench", "--quiet", "--bench", "limits", "--", "grid", "--json")
        programs["visage"] = lambda: products(*limits, f"--threads={arguments.threads}", cwd=ROOT)
    found, about = {}, {}
    for _ in range(arguments.rounds):
        for program, measure in programs.items():
            for name, entry in (attempt(f"grid, {program}", measure) or {}).items():
                figures = found.setdefault(name, {})
                figures.setdefault(program, []).append(entry["gflops"])
                if "gflops_in_calls" in entry:
                    # What a whole call takes is what the others are measured by.
                    figures.setdefault("visage, in calls", []).append(entry["gflops_in_calls"])
                    figures.setdefault("% of peak", []).append(100 * entry["of_peak"])
                    about[name] = "memory" if entry["memory_bound"] else "arithmetic"
    columns = list(dict.fromkeys(column for figures in found.values() for column in figures))
    print("\n| product, GFLOP/s | " + " | ".join([*columns, "bound by"]) + " |\n|---|" + "---|" * (len(columns) + 1))
    for name, figures in found.items():
        medians = {column: statistics.median(values) for column, values in figures.items()}
        rows.append({"work": f"grid {name}", "gflops": medians, "bound_by": about.get(name)})
        cells = [shown(medians.get(column)) for column in columns]
        print(f"| {name} | " + " | ".join([*cells, about.get(name, "")]) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measure", type=os.path.abspath)
    parser.add_argument("--work", default="nerf", help="beginnings of names, with commas; `all` is everything")
    parser.add_argument("--list", action="store_true", help="say what work there is")
    parser.add_argument("--backends", default="eager,compile,ort,jax,hand")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--budget", type=float, default=2.0, help="seconds that a process is timed for")
    parser.add_argument("--preload", type=os.path.abspath)
    parser.add_argument("--visage", type=os.path.abspath, default=ROOT / "target/release/visage")
    parser.add_argument("--without-visage", action="store_true", help="peers only")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    arguments.backends = arguments.backends.split(",")
    asked = arguments.work.split(",")
    wanted = lambda name: any(ask == "all" or name.startswith(ask) for ask in asked)
    work = [one for one in all_work() if wanted(one.name)]
    if arguments.list:
        for one in all_work():
            print(f"{one.name}: {', '.join(one.own + one.measured)}")
        print("grid: PyTorch, the crate gemm")
        return
    rows = []
    if work:
        print("| work | peer | peer, s | visage, s | ratio | peer, GFLOP/s | visage, GFLOP/s | peer, MiB | visage, MiB |")
        print("|---|---|---|---|---|---|---|---|---|")
    for one in work:
        compare(arguments, one, rows)
    if wanted("grid"):
        grid(arguments, rows)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps({"threads": arguments.threads, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
