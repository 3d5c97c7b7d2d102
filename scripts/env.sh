# To be sourced by the scripts beside it. Goes to the project's root and puts a virtual environment
# with everything of requirements-dev.txt first in PATH; the first time, and when the requirements
# have changed, that takes a minute. PYTHON names the Python to make it with.

trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

kms_find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' \
            2>/dev/null; then
            echo "$candidate"
            return
        elif [ "$candidate" = "${PYTHON:-}" ]; then
            break
        fi
    done
    echo "This needs Python 3.11 or newer with its venv module${PYTHON:+, and $PYTHON is not}." \
        "Install one, or name it: PYTHON=/path/to/python3 $0" >&2
    return 1
}

kms_is_venv() {
    .venv/bin/python -c 'import sys; sys.exit(sys.prefix == sys.base_prefix)' 2>/dev/null &&
        .venv/bin/python -m pip --version >/dev/null 2>&1
}

kms_create() {
    # In two steps, as venv kills a pip installer that it runs itself before that can clean up.
    "$1" -m venv --without-pip .venv && .venv/bin/python -m ensurepip --default-pip
}

kms_install() {
    local python stamp=.venv/.kms-requirements wanted words
    wanted=$(cat requirements.txt requirements-dev.txt | cksum) || return 1
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    # One whose Python was upgraded away, or whose creation was cut short, is of no use.
    if [ -e .venv/.kms-unfinished ] || ! kms_is_venv; then
        python=$(kms_find_python) || return 1
        echo "Creating .venv with $python ..." >&2
        # The interpreter goes first: without the rest, it would install into the system's Python.
        rm -rf .venv/bin && rm -rf .venv && mkdir .venv && touch .venv/.kms-unfinished || return 1
        # Its words are kept for a failure: interrupted, it has a screenful to say.
        if ! words=$(kms_create "$python" 2>&1); then
            echo "$words" >&2
            return 1
        fi
        rm .venv/.kms-unfinished
    fi
    echo "Installing the requirements into .venv ..." >&2
    # The stamp comes last, so that an installation cut short is made up for next time.
    rm -f "$stamp"
    .venv/bin/python -m pip --require-virtualenv install --quiet --disable-pip-version-check \
        -r requirements-dev.txt >&2 || return 1
    # So that examples/, and programs of one's own, find kms without an installation.
    echo "$PWD" >"$(echo .venv/lib/python3*/site-packages)/kms.pth"
    echo "$wanted" >"$stamp"
}

# Has Debian's packages of these names installed, for the tests that need their programs: as root on
# Debian it installs what is missing, else it says what to do, and those tests say why they skip.
kms_debian() {
    local package missing=()
    for package in "$@"; do
        # A program of that name will do, wherever it comes from.
        if ! command -v "$package" >/dev/null &&
            [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
            missing+=("$package")
        fi
    done
    if [ "${#missing[@]}" -eq 0 ]; then
        return
    elif [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "Some tests need these packages of Debian, or their like: ${missing[*]}." \
            "As root on Debian, apt-get install ${missing[*]} brings them; without, the tests skip." >&2
        return
    fi
    echo "Installing ${missing[*]} from Debian for the tests ..." >&2
    if ! { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y \
        --no-install-recommends "${missing[@]}"; } </dev/null >/dev/null; then
        echo "apt-get could not install ${missing[*]}; its words are above." >&2
    fi
}

# Two scripts at once take turns. The lock is on the folder, so that no file is left over.
exec 9<.
if command -v flock >/dev/null; then
    flock 9 || exit 1
fi
kms_install || exit 1
exec 9<&-

export VIRTUAL_ENV="$PWD/.venv"
export PATH="$VIRTUAL_ENV/bin:$PATH"
unset PYTHONHOME
