"""Commands that bring a running lvsd and its configuration together; all are clients of it.

``lvsd reload`` makes it read its file again, ``lvsd diff`` shows what a file would change, and
``lvsd save`` writes the running state to a file.
"""
