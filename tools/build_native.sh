#!/bin/sh
# Builds the native kernels in place (src/rilievo/_native*.so) for work on them: PYTHONPATH=src then sees every change.
set -eu
cd "$(dirname "$0")/.."
mkdir -p build
PYTHON=${PYTHON:-.venv/bin/python}
cmake -S . -B build/dev -G Ninja -DCMAKE_BUILD_TYPE=Release -DPython_EXECUTABLE="$PYTHON" >build/dev.log 2>&1 || { cat build/dev.log; exit 1; }
cmake --build build/dev
cmake --install build/dev --prefix src >/dev/null
