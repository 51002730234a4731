"""Says what is missing on a bare machine before anything is built."""

import shutil
import sys

if sys.version_info < (3, 11):
    sys.exit("shotsieve needs Python 3.11 or newer, this is %d.%d: try 'make PYTHON=python3.12'" % sys.version_info[:2])
if not any(shutil.which(compiler) for compiler in ("c++", "g++", "clang++")):
    sys.exit("shotsieve needs a C++17 compiler, and there is none: install g++ or clang++")
