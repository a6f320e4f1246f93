# SPDX-License-Identifier: MIT
"""The heaps that are compared, and runs of their programs, for selftests/bench/run."""

import glob
import os
import resource
import statistics
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BIN = os.path.join(TOP, ".build", "bench")

# mimalloc takes malloc's place in the programs that use it.
MIMALLOC = (sorted(glob.glob("/usr/lib/*/libmimalloc.so.*")) or [None])[0]
HEAPS = {                       # the programs' suffix, where they are from, environment
    "gcarena": ("gcarena", "", {}),
    "bdwgc": ("bdwgc", "libgc-dev", {}),
    "Go": ("go", "golang-1.23-go or golang", {}),
    "malloc": ("malloc", "", {}),
    "mimalloc": ("malloc", "libmimalloc2.0", {"LD_PRELOAD": MIMALLOC}),
}


def have(name):
    return os.path.exists(os.path.join(BIN, name))


def cpu_seconds():
    """Of the programs run so far, with all their threads."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(name, *args, env=None, alone=False):
    """Run a program of ours, if alone on one processor, where a collector has one marker;
    return its key=value words as a dictionary.
    """
    argv = [os.path.join(BIN, name)] + [str(a) for a in args]
    before = cpu_seconds()
    first = ["taskset", "-c", str(min(os.sched_getaffinity(0)))] if alone else []
    done = subprocess.run(first + argv, stdout=subprocess.PIPE, text=True, check=False,
                          env={**os.environ, **(env or {})})
    if done.returncode:
        print(f"  {' '.join([name] + argv[1:])}: exit status {done.returncode}")
        return None
    words = dict(word.split("=", 1) for word in done.stdout.split())
    words["cpu"] = cpu_seconds() - before
    return words


def heaps_of(program):
    """Those that there is this program for."""
    return [h for h, (suffix, _, _) in HEAPS.items()
            if have(f"{program}-{suffix}") and (h != "mimalloc" or MIMALLOC)]


def run_heap(heap, program, *args, env=None):
    suffix, _, own = HEAPS[heap]
    return run(f"{program}-{suffix}", *args, env={**own, **(env or {})})


def say_missing():
    here = heaps_of("binary-trees")
    for heap in HEAPS:
        if heap not in here:
            print(f"There is no {heap} here: it is left out.  Debian's package: {HEAPS[heap][1]}")


def alternate(heaps, reps, once):
    """reps runs of each; every round runs all heaps, so that drift hits all, and each time
    another one first: a virtual machine may have given back the memory that the one before
    it did not use, and its first touch is dear."""
    results = {h: [] for h in heaps}
    for rep in range(reps):
        first = rep % len(heaps)
        for h in heaps[first:] + heaps[:first]:
            r = once(h)
            if r:
                results[h].append(r)
    return results


middle = statistics.median      # or min, with --best


def median(results, key):
    values = [float(r[key]) for r in results if key in r]
    return middle(values) if values else None


def check_same(what, results):
    sums = {h: {r["check"] for r in rs} for h, rs in results.items()}
    if len(set().union(*sums.values())) > 1:
        print(f"  CHECKSUMS DIFFER: {what}: {sums}")
        return False
    return True
