"""Everything at once, against a model: `test_everything.py` runs `machine.py`."""
