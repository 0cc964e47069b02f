"""`actors demo`: a shop that is killed in the middle of an order, and goes on."""
