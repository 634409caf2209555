"""`python -m linewatch` is the program."""

from linewatch.cli.main import main

main()
