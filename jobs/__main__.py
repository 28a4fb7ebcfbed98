"""`python -m jobs` is `neuronmill`."""

from jobs.main import main

main()
