"""What keeps a daemon running: periodic jobs, complaints about faults, the undo at the end."""
