"""The command line. No other module imports this package: only the command line requires click and rich."""
