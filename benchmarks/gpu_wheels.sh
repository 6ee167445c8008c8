#!/usr/bin/env bash
# Wheels that a bare CUDA machine (Python 3.12, torch already there, no network) lacks, into .whl/ (ignored by git).
# There: python3 -m pip install -q --no-index --no-deps --target /tmp/site .whl/*.whl
#        PYTHONPATH=/tmp/site:. TORCH_CUDA_ARCH_LIST=9.0 MAX_JOBS=$(nproc) python3 -m benchmarks.gpu_check --out "$OUT" --minutes 8
set -euo pipefail
cd "$(dirname "$0")/.."
rm -rf .whl
platforms=(manylinux_2_28_x86_64 manylinux_2_27_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64 manylinux1_x86_64)
python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
  "${platforms[@]/#/--platform=}" -d .whl gsplat==1.5.3 manifold3d trimesh tyro docstring-parser typeguard plotly xatlas
du -sh .whl
