"""python -m lrmzero_lite.cli"""

from . import main

main()
