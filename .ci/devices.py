"""The tables of docs/devices.md from the logs of the suite.

    python devices.py LOGS DEVICE… >> docs/devices.md.new

Prints docs/devices.md with the rows of these devices made anew; the text around the tables, and the rows of other devices,
stay as they are.
"""

import datetime
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

PAGE = Path("docs/devices.md")


def number(pattern, text):
    found = re.search(pattern, text, re.M)
    return int(found.group(1)) if found else None


def worst(log, test):
    """The `worst of …` line that a test printed."""
    block = re.search(rf"^---- {test} stdout ----\n(.*?)(?=^----|\Z)", log, re.M | re.S)
    line = re.search(r"worst of (\d+) comparisons: (.*), ([\d.]+|NaN|inf) of its tolerance", block.group(1)) if block else None
    return f"{line.group(3)} ({line.group(1)} comparisons)" if line else "–"



def row(device, logs):
    path = logs / f"{device}.log"
    today = datetime.date.today().isoformat()
    if device == "cuda" and not path.exists():
        path = logs / "cuda:0.log"
    if not path.exists():
        kernels = (logs / "cuda-kernels.log").read_text()
        counted = re.findall(r"^(sm_\d+): (\d+) kernels assembled, (\d+) refused", kernels, re.M)
        text = "; ".join(f"{sm}: {good} kernels assembled, {bad} refused" for sm, good, bad in counted)
        program = (logs / "cuda-program.log").read_text().strip()
        return f"| `cuda` | {today} | built, no card: **not run** | – | – | – | {text}; the program: {program} |", {}
    log = path.read_text(errors="replace")
    passed = sum(int(n) for n in re.findall(r"^test result: .*? (\d+) passed", log, re.M))
    failed = sum(int(n) for n in re.findall(r"^test result: .*? (\d+) failed", log, re.M))
    left_out = defaultdict(set)
    for test, what in re.findall(r"^left out on .*?: ([\w:]+): (.*)$", log, re.M):
        left_out[test].add(what)
    has = re.search(r"^has: Support \{ f16: (\w+), bf16: (\w+), eight_bit: (\w+) \}", log, re.M)
    names = ("f16", "bf16", "8-bit weights")
    lacks = ", ".join(name for name, value in zip(names, has.groups()) if value == "false") if has else "?"
    parity = worst(log, "every_model_gives_the_reference_s_numbers")
    operations = worst(log, "every_operation_and_its_gradient_is_what_it_means")
    suite = f"{passed} passed, {failed} failed, {len(left_out)} left something out"
    seconds = number(r"^seconds: (\d+)", log)
    return f"| `{device}` | {today} | {suite} | {parity} | {operations} | {lacks or 'nothing'} | {seconds} s |", left_out


def replaced(text, name, lines):
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return before + begin + "".join(line + "\n" for line in lines) + end + after


def block(text, name):
    return text.split(f"<!-- {name} -->\n")[1].split(f"<!-- end of {name} -->\n")[0].splitlines()


def main():
    logs, devices = Path(sys.argv[1]), sys.argv[2:]
    text = PAGE.read_text()
    rows = block(text, "suites")
    lists = block(text, "left out")
    for device in devices:
        line, left_out = row(device, logs)
        rows = [old for old in rows if not old.startswith(f"| `{device}` ")] + [line]
        lists = [old for old in lists if not old.startswith(f"- `{device}`: ")]
        lists += [f"- `{device}`: `{test}` ({', '.join(sorted(what))})" for test, what in sorted(left_out.items())]
    order = ["flex", "ndarray", "libtorch", "wgpu", "cuda"]
    head, body = rows[:2], rows[2:]
    body.sort(key=lambda line: order.index(line.split("`")[1].split(":")[0]))
    lists.sort(key=lambda line: order.index(line.split("`")[1].split(":")[0]))
    text = replaced(text, "suites", head + body)
    text = replaced(text, "left out", lists)
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    text = replaced(text, "commit", [f"Last run: {datetime.date.today().isoformat()}, commit {commit}, {', '.join(devices)}."])
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
