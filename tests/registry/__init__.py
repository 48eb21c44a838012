"""Tests of the schema registry, against a real one with Confluent's API."""
