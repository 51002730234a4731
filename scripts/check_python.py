"""Says what is missing on a bare machine before anything is built."""

import shutil
import sys

NEEDED = (3, 11)

found = sys.version_info[:2]
if found < NEEDED:
    needed, has = ".".join(map(str, NEEDED)), ".".join(map(str, found))
    sys.exit(
        "shotsieve needs Python " + needed + " or newer, this is " + has + ": try 'make PYTHON=python3.12'"
    )
if not any(shutil.which(compiler) for compiler in ("c++", "g++", "clang++")):
