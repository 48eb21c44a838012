"""Debezium in place of the relay, on real Kafka Connect: `python -m tests.debezium` is the long form."""
