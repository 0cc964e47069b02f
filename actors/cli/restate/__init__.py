"""Commands for a restate-server: `actors restate serve`, `actors deploy`, `actors restate releases`."""
