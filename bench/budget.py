#!/usr/bin/env python3
"""Compares the instructions each stage takes for an event with bench/budget.txt.

    bench/budget.py [--record] [--program build/bench/budget] [STAGE...]

Exit code 1 if a stage takes more than its budget and tolerance, or has none. --record rewrites the table.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
TABLE = ROOT / "bench" / "budget.txt"
# valgrind counts every byte of a `rep movsb`, and which sizes are copied that way depends on the processor.
ENVIRONMENT = os.environ | {
    "GLIBC_TUNABLES": "glibc.cpu.x86_rep_movsb_threshold=2000000000:glibc.cpu.x86_rep_stosb_threshold=2000000000"}
TOLERANCE = 5  # per cent, of a stage that is recorded for the first time
HEADING = "# stage, instructions per event, tolerance in per cent; written by bench/budget.py --record\n"


def read_table():
    table = {}
    for line in TABLE.read_text().splitlines() if TABLE.exists() else []:
        if line and not line.startswith("#"):
            stage, instructions, tolerance = line.split()
            table[stage] = (float(instructions), float(tolerance))
    return table


def write_table(table):
    lines = (f"{stage:<18} {instructions:>9.0f} {tolerance:>4g}\n" for stage, (instructions, tolerance) in table.items())
    TABLE.write_text(HEADING + "".join(lines))


def measure(program, stage):
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={directory}/out", program, stage],
            capture_output=True, text=True, timeout=300, env=ENVIRONMENT)
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not collected or int(collected[1]) == 0:
        sys.exit(f"{stage}: the run failed\n{done.stderr}")
    return int(collected[1]) / int(done.stdout)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--record", action="store_true", help="make what is measured the budget")
    options.add_argument("--program", default=str(ROOT / "build/bench/budget"))
    options.add_argument("stages", metavar="STAGE", nargs="*", help="all when none is named")
    arguments = options.parse_args()

    known = subprocess.run([arguments.program], capture_output=True, text=True, check=True).stdout.split()
    if unknown := [stage for stage in arguments.stages if stage not in known]:
        sys.exit(f"no such stage: {' '.join(unknown)}")
    table = read_table()
    failures = []
    for stage in arguments.stages or known:
        taken = measure(arguments.program, stage)
        budget, tolerance = table.get(stage, (None, TOLERANCE))
        verdict = "has no budget"
        if budget is not None:
            change = 100 * (taken / budget - 1)
            verdict = f"{change:+.1f} % of {budget:.0f}"
            if change < -tolerance:
                verdict += ": cheaper, record it"
        if budget is None or change > tolerance:
            failures.append(stage)
            verdict += "" if arguments.record else "  EXCEEDED"
        print(f"{stage:<18} {taken:>9.0f}  {verdict}", flush=True)
        if arguments.record:
            table[stage] = (taken, tolerance)
    gone = [stage for stage in table if stage not in known]
    if arguments.record:
        write_table({stage: table[stage] for stage in known if stage in table})
        return 0
    for stage in gone:
        print(f"{stage:<18} is in the table and nowhere else")
    return 1 if failures or gone else 0


if __name__ == "__main__":
    sys.exit(main())
