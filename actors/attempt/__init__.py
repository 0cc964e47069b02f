"""One invocation, and one run of its code against its journal.

What an attempt reaches of its engine is one port, `ports.Host`. `attempt`, `commands` and `recorder` are one class in
three storeys: the stepping of the coroutine, the commands of its context, the journal.
"""
