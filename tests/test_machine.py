"What a machine can do is asked of the libraries, which can be told to do less."
import os
import platform
import subprocess
import sys

import pytest
import torch

ASK = "import torch; from psychoscore.model import multiplies_bf16; print(multiplies_bf16(torch.device('cpu')))"


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="ONEDNN_MAX_CPU_ISA names instructions of x86")
def test_a_cpu_without_bf16_can_be_had_anywhere():
    answers = {}
    for isa in ("AVX2", "ALL"):
        told = os.environ | dict(ONEDNN_MAX_CPU_ISA=isa)
        result = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, env=told)
        answers[isa] = result.stdout.strip()
    has = torch.cpu.get_capabilities()
    assert answers == {"AVX2": "False", "ALL": str(any(has.get(name, False) for name in ("amx_bf16", "avx512_bf16")))}
