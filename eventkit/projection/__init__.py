"""Read models: functions that fold events, and the process that runs them so that each event takes effect once."""
