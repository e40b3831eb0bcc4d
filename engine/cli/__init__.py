"""`cmm`: options, a service, its value printed, an exit code. What the commands do is in the other rooms."""

from engine.cli.main import main

__all__ = ["main"]
