"""Measures the service as its callers meet it: over HTTP, beside what the machine can give.

Every figure comes with its floor from the same run, round by round in turn, for a machine's
speed changes from minute to minute and only ratios last. The parts:

===========  =============================================================================
`numbering`  which codes and profiles there are: a number leads to each
`preparing`  makes them in the store, in bulk, and takes them away again
`requests`   requests as bytes, with places for what changes
`jobs`       what is sent for each job, its floor and its target
`load`       sends it, in a process of its own
`processes`  starts and ends the service and its companions, and reads what they use
`fixed`      uvicorn answering fixed bytes: the floor of HTTP
`pgbench`    the same statements without a service: the floor of PostgreSQL
`run`        what every measurement of a run shares
`rounds`     the jobs beside their floors
`endurance`  a large program, a million requests
`samples`    files of random codes
`floors`     psql and sqlite3 at the same work: the floors of bulk
`bulk`       import, generation and export, as commands of their own
`beside`     activations while codes are imported
`pages`      pages of searches in a large program
`report`     what was measured, as values
===========  =============================================================================
"""
