"""Headers taken apart, one file for each family of them; `lvsd.explain.dissect` ties them."""
