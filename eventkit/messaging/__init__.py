"""What services do about events: process managers, deadlines, handlers of commands and messages."""
