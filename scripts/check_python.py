"""Says what is missing on a bare machine before anything is built."""

import shutil
import sys

NEEDED = (3, 11)

if sys.version_info[:2] < NEEDED:
    found = f"{sys.version_info[0]}.{sys.version_info[1]}"
    sys.exit(f"shotsieve needs Python 3.11 or newer, this is {found}: try 'make PYTHON=python3.12'")
if not any(shutil.which(compiler) for compiler in ("c++", "g++", "clang++")):
    sys.exit("shotsieve needs a C++17 compiler, and there is none: install g++ or clang++")
