"""`python -m persona_assets` is the command line."""

from persona_assets.cli.main import main

main()
