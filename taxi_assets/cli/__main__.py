"""`python -m taxi_assets.cli` is `taxi`."""

from taxi_assets.cli.main import main

main()
