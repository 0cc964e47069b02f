"""How results look in a terminal, whatever its width, its colours and its encoding."""
