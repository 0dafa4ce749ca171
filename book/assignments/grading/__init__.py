"""Hand out the assignments and grade what comes back: `make assignments`, `make grade`.

A submission's code runs in a confined process (`confinement`, `worker`) that knows neither the
hidden tests nor the gradebook. The tests run outside of it (`session`), ask that process for
numbers, and judge these. This, reading a submission and showing it are done in processes that can
be stopped (`apart`), several side by side (`jobs`). Imports go down only: __main__ → jobs, record,
summary → course → release → submissions → names, apart; course → session → workers, wire;
apart, workers → confinement; warm → worker → wire, syscalls.
"""
