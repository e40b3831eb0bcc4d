"""`python -m engine.cli`: the command line."""

from engine.cli.main import main

main()
