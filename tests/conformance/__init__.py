"""One black-box suite over HTTP: the services of Restate's own conformance tests, written with our classes."""
