"""PostgreSQL from a wheel and a Kafka broker from librdkafka, for the demo, tests and first steps.

They need no root, Java or containers. They change nothing outside a temporary folder, and end with their process. Not
for production: the broker has no passwords, listens on 127.0.0.1 alone, and keeps messages in memory only.
`python -m eventkit.embedded` starts both.
"""
