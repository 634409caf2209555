"""Run the command line with `python -m linewatch`."""

from linewatch.cli.main import main

main()
