"""The page's program trains in two processes as in one."""

import os
import subprocess
import sys

from tests.book.test_pages import BLOCK, ROOT

PAGE = ROOT / "docs/guides/many_machines.md"


def test_the_pages_program_runs_in_two_processes(tmp_path):
    blocks = [block.group(1) for block in BLOCK.finditer(PAGE.read_text())]
    end = "dist.destroy_process_group()\n"
    assert blocks[-1] == end
    told = 'print(f"rank {dist.get_rank()} of {dist.get_world_size()} is through", flush=True)\n'
    program = tmp_path / "program.py"
    program.write_text("\n".join([*blocks[:-1], told, end]))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, program],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for rank in (0, 1):
        assert f"rank {rank} of 2 is through" in done.stdout
