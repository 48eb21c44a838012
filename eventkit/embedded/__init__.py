"""PostgreSQL from a wheel and the Kafka protocol from librdkafka, for the demo, tests and first steps.

No root, no Java, no containers; nothing is left running and nothing is changed outside a temporary folder. Not for
production: the broker asks nobody for a password, on 127.0.0.1 alone, and keeps its messages in memory only.
`python -m eventkit.embedded` starts both.
"""
