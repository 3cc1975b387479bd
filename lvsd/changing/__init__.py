"""Commands that change a running lvsd by its configuration, or compare the two: clients of it.

``lvsd reload`` has it read its file again, ``lvsd diff`` says what a file would change, and ``lvsd
save`` writes a file of what runs.
"""
