"""Kernels are compiled once: the first process says so, the next one finds them on disk."""

import os
import subprocess
import sys

SCRIPT = """
import numpy as np
from firstsight.matching.selection.consistency import classify
classify(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.uint16), 1.0, 4)
print("done")
"""


def test_the_second_process_compiles_nothing(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, env=environment)
        for _ in range(2)
    )
    assert first.stdout == second.stdout == "done\n"
    assert first.stderr.count("compiling kernels") == 1
    assert "compiling" not in second.stderr
