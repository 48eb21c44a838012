"""PostgreSQL from a wheel and the Kafka protocol from librdkafka, for the demo, tests and first steps.

No root, no Java, no containers; nothing is left running and nothing is changed outside a temporary folder. Not for
production: the PostgreSQL trusts every local user, and the broker keeps its messages in memory only.
`python -m eventkit.embedded` starts both.
"""
