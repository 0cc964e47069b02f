"""The command line. Nothing else imports it: click and rich are needed here only."""
