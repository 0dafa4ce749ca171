"""Hand out the assignments and grade what comes back: `make assignments`, `make grade`.

A submission's code runs in a confined process (`confinement`, `worker`) that knows neither the
hidden tests nor the gradebook. The tests run outside of it (`session`), ask that process for
numbers, and judge these. This, reading a submission and showing it are done in processes that can
be stopped (`apart`), several side by side (`jobs`). What was handed in, in zips as well
(`archives`), is whose by how platforms name it (`platforms`) and by a list of the class (`roster`).
Imports go down only: __main__ → jobs, record, summary → course → release → submissions → archives,
roster → platforms → names; archives → apart; course → session → workers, wire; apart, workers →
confinement; warm → worker → wire, syscalls.
"""
