"""`actors demo`: a shop, killed in the middle, that goes on."""
