"""Packs the benchmark program so that it travels beside the repository, and unpacks it there.

    python pack.py pack PROGRAM PACKED
    python pack.py unpack PACKED PROGRAM

Weights and corpus are inside the program and in the repository: what travels holds them once, as files of the repository.
"""

import json
import lzma
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Smaller ones are not worth a search.
SMALLEST = 1 << 14
FILTERS = [
    {"id": lzma.FILTER_X86},
    {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 27},
]


def pack(program, packed):
    data = bytearray(program.read_bytes())
    tracked = subprocess.run(["git", "ls-files", "crates"], cwd=ROOT, capture_output=True, text=True, check=True)
    places = []
    for name in tracked.stdout.splitlines():
        content = (ROOT / name).read_bytes()
        place = data.find(content) if len(content) >= SMALLEST else -1
        if place >= 0:
            data[place : place + len(content)] = bytes(len(content))
            places.append([name, place])
    head = json.dumps(places).encode()
    with lzma.open(packed, "wb", filters=FILTERS) as file:
        file.write(len(head).to_bytes(8, "little") + head + data)
    inside = sum((ROOT / name).stat().st_size for name, _ in places)
    print(f"{program.stat().st_size / 1e6:.1f} MB, {inside / 1e6:.1f} of them of the repository, packed {packed.stat().st_size / 1e6:.1f} MB")


def unpack(packed, program):
    with lzma.open(packed) as file:
        whole = file.read()
    length = int.from_bytes(whole[:8], "little")
    data = bytearray(whole[8 + length :])
    for name, place in json.loads(whole[8 : 8 + length]):
        content = (ROOT / name).read_bytes()
        data[place : place + len(content)] = content
    program.write_bytes(data)
    program.chmod(0o755)


if __name__ == "__main__":
    verb, source, target = sys.argv[1:]
    {"pack": pack, "unpack": unpack}[verb](Path(source), Path(target))
