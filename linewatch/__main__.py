"""`python -m linewatch` is the program."""

from linewatch.cli import main

main()
