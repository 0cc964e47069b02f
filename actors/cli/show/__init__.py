"""How results look in a terminal, whatever its width, colours and encoding."""
