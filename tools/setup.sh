#!/bin/sh
# Makes the virtual environment, builds the native kernels and installs rilievo into it, from package registries only.
set -eu
PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}

if ! "$PYTHON" -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] <= (3, 13)))' 2>/dev/null; then
  for candidate in python3.12 python3.13 python3.11; do
    if command -v "$candidate" >/dev/null 2>&1; then PYTHON=$candidate; break; fi
  done
fi
"$PYTHON" -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "rilievo needs Python 3.11 to 3.13, found %d.%d: run make PYTHON=/path/to/python3.12" % v)'

# A C++ compiler is the one thing that pip cannot bring.
if ! command -v c++ >/dev/null 2>&1 && ! command -v g++ >/dev/null 2>&1 && ! command -v clang++ >/dev/null 2>&1; then
  if command -v apt-get >/dev/null 2>&1; then
    sudo=""; [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq && $sudo apt-get install -y -qq g++
  else
    echo "rilievo needs a C++20 compiler (g++ 11 or clang 14 or newer): please install one and run make again" >&2
    exit 1
  fi
fi

# Tests drive the pages with Debian's Chromium. Everything else works without it, so nobody is asked for a password.
if ! command -v chromium >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1; then
  sudo=""; [ "$(id -u)" = 0 ] || sudo="sudo -n"
  echo "installing chromium for the browser tests"
  if ! { $sudo apt-get update -qq && $sudo apt-get install -y -qq --no-install-recommends chromium; } </dev/null >/dev/null 2>&1; then
    echo "chromium could not be installed: browser tests will be skipped (sudo apt-get install chromium)" >&2
  fi
fi

if [ ! -x "$VENV/bin/python" ]; then
  "$PYTHON" -m venv "$VENV" 2>/dev/null || {
    if command -v apt-get >/dev/null 2>&1; then
      sudo=""; [ "$(id -u)" = 0 ] || sudo=sudo
      $sudo apt-get update -qq && $sudo apt-get install -y -qq python3-venv
    fi
    "$PYTHON" -m venv "$VENV"
  }
fi
echo "installing rilievo and what it needs into $VENV (a minute or two)"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
