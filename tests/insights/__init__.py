"""Tests of the answers about a running system."""
