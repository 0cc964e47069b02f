"""Why a key does not move: who holds it, what the holder waits for, and what frees it with the smallest loss."""
