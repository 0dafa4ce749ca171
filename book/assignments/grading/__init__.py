"""Hand out the assignments and grade what comes back: `make assignments`, `make grade`.

A submission's code runs in a confined process (`confinement`, `worker`) that knows neither the
hidden tests nor the gradebook. The tests run here (`session`), ask that process for numbers, and
judge these. Imports go down only: __main__ → course → release, submissions, session →
confinement → wire.
"""
