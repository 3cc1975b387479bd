"""The checks that come with lvsd, a module each."""
