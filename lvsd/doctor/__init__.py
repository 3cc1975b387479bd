"""What keeps packets from getting through, and the command that fixes it: ``lvsd doctor``.

Two halves. What asks somebody, the kernel, the daemon or the real servers (`gather`, `wire`),
fills a `Snapshot`; the checks (`lvsd.doctor.checks`) read it, and are pure.
"""
